-- grain: one row per runner
-- point in time: the horse's own results of strictly earlier race days, collapsed to one row per horse and day
-- look-back: 730 days, horses that run in the window only
-- description: The horse's form as a curve over time: time-weighted means with half-lives, slope, spread, best, last runs, share of rivals beaten, beaten lengths adjusted to distance.
with window_horses as (
    select distinct horse_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, horse_key
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
        and horse_key in (select horse_key from window_horses)
),
results as (
    select race_key, runner_key, won, position, beaten_lengths, racing_post_rating, top_speed
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
winning_margins as (
    select race_key, min(beaten_lengths) as winning_margin
    from results
    where position > 1 and beaten_lengths is not null
    group by race_key
),
races as (
    select race_key, field_size, distance_furlongs
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
speed as (
    select runner_key, speed_figure_trend
    from features.speed_figures
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
horse_days as (
    select
        entries.horse_key,
        entries.race_date,
        -- Any fixed day serves: the weights 2^(t/h) are only ever used in ratios.
        max(date_diff('day', date '2015-01-01', entries.race_date)) as day_number,
        max(case when results.runner_key is not null then entries.race_date end) as run_date,
        max(results.won) as won,
        avg(case
            when races.field_size < 2 or results.runner_key is null then null
            when results.position is null then 0
            else (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)
        end) as rivals_beaten,
        -- One length is a smaller part of a longer race; beyond 20 lengths the rider has stopped riding.
        -- A winner is beaten by minus its margin (least() would take an unknown margin for the ten).
        avg(case
            when results.won = 1 then -(case when winning_margins.winning_margin > 10 then 10 else winning_margins.winning_margin end) * sqrt(8 / races.distance_furlongs)
            when results.beaten_lengths is not null then least(results.beaten_lengths, 20) * sqrt(8 / races.distance_furlongs)
        end) as lengths_adjusted,
        max(results.racing_post_rating) as racing_post_rating,
        max(results.top_speed) as top_speed
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
    left join winning_margins on winning_margins.race_key = entries.race_key
    group by entries.horse_key, entries.race_date
),
weighted_days as (
    select
        horse_key,
        race_date,
        day_number,
        run_date,
        won,
        rivals_beaten,
        lengths_adjusted,
        racing_post_rating,
        top_speed,
        -- -1 and -99 stand for an unknown value of a run, so that a lag over runs never steps back to an older run.
        case when run_date is not null then coalesce(rivals_beaten, -1) end as run_rivals_beaten,
        case when run_date is not null then coalesce(lengths_adjusted, -99) end as run_lengths,
        case when run_date is not null then coalesce(racing_post_rating, -1) end as run_rpr,
        case when run_date is not null then coalesce(top_speed, -1) end as run_ts,
        case when rivals_beaten is not null then pow(2, day_number / 30.0) end as weight_30d,
        case when rivals_beaten is not null then pow(2, day_number / 90.0) end as weight_90d
    from horse_days
),
horse_frames as (
    select
        *,
        -- Rows of the look-backs, counted once: a frame of so many rows is cheaper than searching the dates anew for every value.
        count(*) over days_730 as rows_730d,
        count(*) over days_365 as rows_365d
    from weighted_days
    window
        days_730 as (partition by horse_key order by race_date range between 730 preceding and 1 preceding),
        days_365 as (partition by horse_key order by race_date range between 365 preceding and 1 preceding)
),
horse_windows as (
    select
        horse_key,
        race_date,
        count(run_date) over career as form_runs,
        sum(won) over career as form_wins,
        sum(rivals_beaten * weight_30d) over career / nullif(sum(weight_30d) over career, 0) as form_ewma_30d,
        sum(rivals_beaten * weight_90d) over career / nullif(sum(weight_90d) over career, 0) as form_ewma,
        sum(lengths_adjusted * weight_90d) over career / nullif(sum(case when lengths_adjusted is not null then weight_90d end) over career, 0) as lengths_ewma,
        max(rivals_beaten) over days_365 as form_best,
        min(lengths_adjusted) over days_365 as lengths_best,
        max(racing_post_rating) over days_365 as rpr_best,
        max(top_speed) over days_365 as ts_best,
        count(rivals_beaten) over days_365 as form_runs_365d,
        var_samp(rivals_beaten) over days_365 as form_var,
        regr_slope(rivals_beaten, day_number) over days_365 as form_slope_per_day,
        regr_slope(top_speed, day_number) over days_365 as ts_slope_per_day,
        lag(run_date, 1 ignore nulls) over runs as date_1,
        lag(run_date, 2 ignore nulls) over runs as date_2,
        lag(run_date, 3 ignore nulls) over runs as date_3,
        lag(won, 1 ignore nulls) over runs as won_1,
        lag(run_rivals_beaten, 1 ignore nulls) over runs as rivals_beaten_1,
        lag(run_rivals_beaten, 2 ignore nulls) over runs as rivals_beaten_2,
        lag(run_rivals_beaten, 3 ignore nulls) over runs as rivals_beaten_3,
        lag(run_lengths, 1 ignore nulls) over runs as lengths_1,
        lag(run_rpr, 1 ignore nulls) over runs as rpr_1,
        lag(run_ts, 1 ignore nulls) over runs as ts_1
    from horse_frames
    window
        career as (partition by horse_key order by race_date rows between rows_730d preceding and 1 preceding),
        days_365 as (partition by horse_key order by race_date rows between rows_365d preceding and 1 preceding),
        runs as (partition by horse_key order by race_date)
),
curves as (
    select
        horse_key,
        race_date,
        form_ewma,
        form_ewma_30d,
        case when form_runs_365d >= 3 then form_slope_per_day * 30 end as form_slope,
        form_var,
        -- One rated run has no slope: DuckDB calls it not a number.
        case when form_runs_365d >= 3 and isfinite(ts_slope_per_day) then ts_slope_per_day * 30 end as ts_slope,
        form_best,
        -- A lag knows no look-back of its own; the date beside it gives it that of the frames.
        case when race_date - date_1 <= 730 then nullif(rivals_beaten_1, -1) end as form_last,
        case when race_date - date_2 <= 730 then nullif(rivals_beaten_2, -1) end as form_last_2,
        case when race_date - date_3 <= 730 then nullif(rivals_beaten_3, -1) end as form_last_3,
        cast(form_runs as integer) as form_runs,
        cast(form_wins as integer) as form_wins,
        form_wins / nullif(form_runs, 0) as form_win_rate,
        case when race_date - date_1 <= 730 then won_1 end as won_last,
        lengths_ewma,
        lengths_best,
        case when race_date - date_1 <= 730 then nullif(lengths_1, -99) end as lengths_last,
        case when race_date - date_1 <= 730 then nullif(rpr_1, -1) end as rpr_last,
        rpr_best,
        case when race_date - date_1 <= 730 then nullif(ts_1, -1) end as ts_last,
        ts_best
    from horse_windows
    where race_date >= cast($start as date)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    curves.form_ewma, -- time-weighted mean share of rivals beaten, half-life 90 days [share]
    curves.form_ewma_30d, -- time-weighted mean share of rivals beaten, half-life 30 days [share]
    curves.form_slope, -- slope of the share of rivals beaten in 365 days; null under three runs [share per 30 days]
    curves.form_var, -- variance of the share of rivals beaten in 365 days; null under two runs [share squared]
    coalesce(curves.ts_slope, speed.speed_figure_trend) as ts_trend, -- slope of the published speed rating in 365 days; that of our own speed figure where none is published [points per 30 days]
    curves.form_best, -- best share of rivals beaten in 365 days [share]
    curves.form_last, -- share of rivals beaten last time [share]
    curves.form_last_2, -- share of rivals beaten two runs ago [share]
    curves.form_last_3, -- share of rivals beaten three runs ago [share]
    curves.form_runs, -- runs in 730 days [runs]
    curves.form_wins, -- wins in 730 days; null without a run [wins]
    curves.form_win_rate, -- share of runs won in 730 days; null without a run [share]
    curves.won_last, -- won last time [0/1]
    curves.lengths_ewma, -- time-weighted mean lengths beaten, as over 8 furlongs, negative for a winner's margin, half-life 90 days [lengths]
    curves.lengths_best, -- fewest lengths beaten in 365 days, as over 8 furlongs, negative for a winner's margin [lengths]
    curves.lengths_last, -- lengths beaten last time, as over 8 furlongs, negative for a winner's margin [lengths]
    curves.rpr_last, -- Racing Post Rating of the last run, an after-race rating [points]
    curves.rpr_best, -- best Racing Post Rating in 365 days [points]
    curves.ts_last, -- Topspeed of the last run, an after-race rating [points]
    curves.ts_best -- best Topspeed in 365 days [points]
from entries
left join curves on curves.horse_key = entries.horse_key and curves.race_date = entries.race_date
left join speed on speed.runner_key = entries.runner_key
where entries.race_date >= cast($start as date)
