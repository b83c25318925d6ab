-- grain: one row per runner
-- point in time: the horse's own results of strictly earlier race days, collapsed to one row per horse and day
-- look-back: 1095 days, horses that run in the window only
-- description: The horse's form as a curve over time: time-weighted means with half-lives, slope, spread, best, last runs, share of rivals beaten, beaten lengths adjusted to distance.
with window_horses as (
    select distinct horse_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, horse_key
    from core.entries
    where race_date >= cast($start as date) - 1095 and race_date <= cast($end as date)
        and horse_key in (select horse_key from window_horses)
),
results as (
    select race_key, runner_key, won, position, beaten_lengths, racing_post_rating, top_speed
    from core.results
    where race_date >= cast($start as date) - 1095 and race_date <= cast($end as date)
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
    where race_date >= cast($start as date) - 1095 and race_date <= cast($end as date)
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
        max(case when results.runner_key is not null then 1 end) as ran,
        max(results.won) as won,
        max(case when results.position <= 3 then 1 when results.runner_key is not null then 0 end) as placed,
        avg(case
            when races.field_size < 2 or results.runner_key is null then null
            when results.position is null then 0
            else (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)
        end) as rivals_beaten,
        -- One length is a smaller part of a longer race; beyond 20 lengths the rider has stopped riding.
        -- A winner is beaten by minus its margin.
        avg(case
            when results.won = 1 then -least(winning_margins.winning_margin, 10) * sqrt(8 / races.distance_furlongs)
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
        horse_days.*,
        pow(2, day_number / 30.0) as weight_30d,
        pow(2, day_number / 90.0) as weight_90d,
        pow(2, day_number / 365.0) as weight_365d
    from horse_days
),
horse_windows as (
    select
        horse_key,
        race_date,
        count(ran) over career as form_runs,
        sum(won) over career as form_wins,
        sum(placed) over career / nullif(count(ran) over career, 0) as form_place_rate,
        sum(rivals_beaten * weight_30d) over career / nullif(sum(case when rivals_beaten is not null then weight_30d end) over career, 0) as form_ewma_30d,
        sum(rivals_beaten * weight_90d) over career / nullif(sum(case when rivals_beaten is not null then weight_90d end) over career, 0) as form_ewma,
        sum(rivals_beaten * weight_365d) over career / nullif(sum(case when rivals_beaten is not null then weight_365d end) over career, 0) as form_ewma_365d,
        sum(won * weight_365d) over career / nullif(sum(case when won is not null then weight_365d end) over career, 0) as form_win_ewma,
        sum(lengths_adjusted * weight_90d) over career / nullif(sum(case when lengths_adjusted is not null then weight_90d end) over career, 0) as lengths_ewma,
        max(rivals_beaten) over days_365 as form_best,
        min(lengths_adjusted) over days_365 as lengths_best,
        max(racing_post_rating) over days_365 as rpr_best,
        max(top_speed) over days_365 as ts_best,
        last_value(rivals_beaten ignore nulls) over career as form_last,
        -- A lag knows no look-back of its own; the date beside it gives it the same one as the frames.
        case when race_date - lag(race_date, 2) over runs <= 1095 then lag(rivals_beaten, 2) over runs end as form_last_2,
        case when race_date - lag(race_date, 3) over runs <= 1095 then lag(rivals_beaten, 3) over runs end as form_last_3,
        last_value(lengths_adjusted ignore nulls) over career as lengths_last,
        case when race_date - lag(race_date, 2) over runs <= 1095 then lag(lengths_adjusted, 2) over runs end as lengths_last_2,
        case when race_date - lag(race_date, 3) over runs <= 1095 then lag(lengths_adjusted, 3) over runs end as lengths_last_3,
        last_value(won ignore nulls) over career as won_last,
        last_value(racing_post_rating ignore nulls) over career as rpr_last,
        last_value(top_speed ignore nulls) over career as ts_last,
        count(rivals_beaten) over days_365 as form_runs_365d,
        avg(rivals_beaten) over days_365 as form_mean_365d,
        var_samp(rivals_beaten) over days_365 as form_var,
        regr_slope(rivals_beaten, day_number) over days_365 as form_slope_per_day,
        count(top_speed) over days_365 as ts_runs,
        regr_slope(top_speed, day_number) over days_365 as ts_slope_per_day
    from weighted_days
    window
        career as (partition by horse_key order by race_date range between interval 1095 day preceding and interval 1 day preceding),
        days_365 as (partition by horse_key order by race_date range between interval 365 day preceding and interval 1 day preceding),
        runs as (partition by horse_key order by race_date)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    windows.form_ewma, -- time-weighted mean share of rivals beaten, half-life 90 days [share]
    windows.form_ewma_30d, -- time-weighted mean share of rivals beaten, half-life 30 days [share]
    windows.form_ewma_365d, -- time-weighted mean share of rivals beaten, half-life 365 days [share]
    case when windows.form_runs_365d >= 3 then windows.form_slope_per_day * 30 end as form_slope, -- slope of the share of rivals beaten in 365 days; null under three runs [share per 30 days]
    windows.form_var, -- variance of the share of rivals beaten in 365 days [share squared]
    coalesce(case when windows.ts_runs >= 3 then windows.ts_slope_per_day * 30 end, speed.speed_figure_trend) as ts_trend, -- slope of the published speed rating in 365 days; that of our own speed figure where none is published [points per 30 days]
    windows.form_best, -- best share of rivals beaten in 365 days [share]
    windows.form_last, -- share of rivals beaten last time [share]
    windows.form_last_2, -- share of rivals beaten two runs ago [share]
    windows.form_last_3, -- share of rivals beaten three runs ago [share]
    windows.form_mean_365d, -- mean share of rivals beaten in 365 days [share]
    windows.form_win_ewma, -- time-weighted strike rate, half-life 365 days [wins per run]
    windows.form_place_rate, -- share of runs in the first three in 1095 days [share]
    windows.form_runs, -- runs in 1095 days [runs]
    cast(windows.form_wins as bigint) as form_wins, -- wins in 1095 days; null without a run [wins]
    windows.won_last, -- won last time [0/1]
    windows.lengths_ewma, -- time-weighted mean lengths beaten, as over 8 furlongs, negative for a winner's margin, half-life 90 days [lengths]
    windows.lengths_best, -- fewest lengths beaten in 365 days, as over 8 furlongs, negative for a winner's margin [lengths]
    windows.lengths_last, -- lengths beaten last time, as over 8 furlongs, negative for a winner's margin [lengths]
    windows.lengths_last_2, -- lengths beaten two runs ago, as over 8 furlongs, negative for a winner's margin [lengths]
    windows.lengths_last_3, -- lengths beaten three runs ago, as over 8 furlongs, negative for a winner's margin [lengths]
    windows.rpr_last, -- Racing Post Rating of the last run, an after-race rating [points]
    windows.rpr_best, -- best Racing Post Rating in 365 days [points]
    windows.ts_last, -- Topspeed of the last run, an after-race rating [points]
    windows.ts_best -- best Topspeed in 365 days [points]
from entries
left join horse_windows as windows on windows.horse_key = entries.horse_key and windows.race_date = entries.race_date
left join speed on speed.runner_key = entries.runner_key
where entries.race_date >= cast($start as date)
