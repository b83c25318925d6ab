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
targets as (
    select race_date, race_key, runner_key, horse_key
    from entries
    where race_date >= cast($start as date)
),
run_days as (
    select
        entries.horse_key,
        entries.race_date,
        -- Any fixed day serves: the weights 2^(t/h) are only ever used in ratios.
        max(date_diff('day', date '2015-01-01', entries.race_date)) as day_number,
        max(results.won) as won,
        avg(case
            when races.field_size < 2 then null
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
    inner join results on results.runner_key = entries.runner_key
    inner join races on races.race_key = entries.race_key
    left join winning_margins on winning_margins.race_key = entries.race_key
    group by entries.horse_key, entries.race_date
),
weighted_days as (
    select
        horse_key,
        race_date,
        day_number,
        won,
        rivals_beaten,
        lengths_adjusted,
        racing_post_rating,
        top_speed,
        case when rivals_beaten is not null then pow(2, day_number / 30.0) end as weight_30d,
        case when rivals_beaten is not null then pow(2, day_number / 90.0) end as weight_90d,
        case when lengths_adjusted is not null then pow(2, day_number / 90.0) end as length_weight_90d,
        lag(race_date, 1) over runs as date_2,
        lag(rivals_beaten, 1) over runs as rivals_beaten_2,
        lag(race_date, 2) over runs as date_3,
        lag(rivals_beaten, 2) over runs as rivals_beaten_3
    from run_days
    window runs as (partition by horse_key order by race_date)
),
careers as (
    select
        targets.runner_key,
        targets.race_date,
        max(runs.race_date) as last_date,
        count(*) as form_runs,
        sum(runs.won) as form_wins,
        sum(runs.rivals_beaten * runs.weight_30d) / sum(runs.weight_30d) as form_ewma_30d,
        sum(runs.rivals_beaten * runs.weight_90d) / sum(runs.weight_90d) as form_ewma,
        sum(runs.lengths_adjusted * runs.length_weight_90d) / sum(runs.length_weight_90d) as lengths_ewma,
        max(case when runs.race_date >= targets.race_date - 365 then runs.rivals_beaten end) as form_best,
        min(case when runs.race_date >= targets.race_date - 365 then runs.lengths_adjusted end) as lengths_best,
        max(case when runs.race_date >= targets.race_date - 365 then runs.racing_post_rating end) as rpr_best,
        max(case when runs.race_date >= targets.race_date - 365 then runs.top_speed end) as ts_best,
        count(case when runs.race_date >= targets.race_date - 365 then runs.rivals_beaten end) as form_runs_365d,
        count(case when runs.race_date >= targets.race_date - 365 then runs.top_speed end) as ts_runs_365d,
        var_samp(case when runs.race_date >= targets.race_date - 365 then runs.rivals_beaten end) as form_var,
        regr_slope(case when runs.race_date >= targets.race_date - 365 then runs.rivals_beaten end, runs.day_number) as form_slope_per_day,
        regr_slope(case when runs.race_date >= targets.race_date - 365 then runs.top_speed end, runs.day_number) as ts_slope_per_day
    from targets
    inner join weighted_days as runs
        on runs.horse_key = targets.horse_key and runs.race_date < targets.race_date and runs.race_date >= targets.race_date - 730
    group by targets.runner_key, targets.race_date
)
select
    targets.race_date, -- day of the race [date]
    targets.race_key, -- key of the race [key]
    targets.runner_key, -- key of the runner [key]
    careers.form_ewma, -- time-weighted mean share of rivals beaten, half-life 90 days [share]
    careers.form_ewma_30d, -- time-weighted mean share of rivals beaten, half-life 30 days [share]
    case when careers.form_runs_365d >= 3 then careers.form_slope_per_day * 30 end as form_slope, -- slope of the share of rivals beaten in 365 days; null under three runs [share per 30 days]
    careers.form_var, -- variance of the share of rivals beaten in 365 days; null under two runs [share squared]
    coalesce(case when careers.ts_runs_365d >= 3 then careers.ts_slope_per_day * 30 end, speed.speed_figure_trend) as ts_trend, -- slope of the published speed rating in 365 days; that of our own speed figure where none is published [points per 30 days]
    careers.form_best, -- best share of rivals beaten in 365 days [share]
    last_runs.rivals_beaten as form_last, -- share of rivals beaten last time [share]
    case when targets.race_date - last_runs.date_2 <= 730 then last_runs.rivals_beaten_2 end as form_last_2, -- share of rivals beaten two runs ago, within 730 days [share]
    case when targets.race_date - last_runs.date_3 <= 730 then last_runs.rivals_beaten_3 end as form_last_3, -- share of rivals beaten three runs ago, within 730 days [share]
    cast(coalesce(careers.form_runs, 0) as integer) as form_runs, -- runs in 730 days [runs]
    cast(careers.form_wins as integer) as form_wins, -- wins in 730 days; null without a run [wins]
    careers.form_wins / careers.form_runs as form_win_rate, -- share of runs won in 730 days; null without a run [share]
    last_runs.won as won_last, -- won last time [0/1]
    careers.lengths_ewma, -- time-weighted mean lengths beaten, as over 8 furlongs, negative for a winner's margin, half-life 90 days [lengths]
    careers.lengths_best, -- fewest lengths beaten in 365 days, as over 8 furlongs, negative for a winner's margin [lengths]
    last_runs.lengths_adjusted as lengths_last, -- lengths beaten last time, as over 8 furlongs, negative for a winner's margin [lengths]
    last_runs.racing_post_rating as rpr_last, -- Racing Post Rating of the last run, an after-race rating [points]
    careers.rpr_best, -- best Racing Post Rating in 365 days [points]
    last_runs.top_speed as ts_last, -- Topspeed of the last run, an after-race rating [points]
    careers.ts_best -- best Topspeed in 365 days [points]
from targets
left join careers on careers.runner_key = targets.runner_key and careers.race_date = targets.race_date
left join weighted_days as last_runs
    on last_runs.horse_key = targets.horse_key and last_runs.race_date = careers.last_date and last_runs.race_date < targets.race_date
left join speed on speed.runner_key = targets.runner_key
