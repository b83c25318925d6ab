-- grain: one row per runner
-- point in time: times of strictly earlier race days; the figure of an earlier run uses the par as known before that run and the going allowance of that run's own (earlier) day
-- look-back: 730 days of the horse's runs, 365 days of class levels before each: 1095 in all
-- description: Speed figures: time against an as-of par by course, distance and going with a daily going allowance, in tenths of a percent of par around 100; pace and late-gain figures where calls exist.
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
    select race_key, runner_key, time_seconds, position
    from core.results
    where race_date >= cast($start as date) - 1095 and race_date <= cast($end as date)
),
races as (
    select
        race_date,
        race_key,
        hash(country, course, surface, code) as track,
        -- Half furlongs, to which every layout and every card writes a distance: metres of one trip differ from file to file.
        hash(country, course, surface, code, round(2 * distance_furlongs)) as trip,
        hash(country, code, coalesce(cast(race_class as varchar), pattern, ''), coalesce(rating_band_high, 0)) as level,
        field_size
    from core.races
    where race_date >= cast($start as date) - 1095 and race_date <= cast($end as date) and distance_furlongs is not null
),
-- What was known before a race is on record with it.
pars as (
    select race_key, par_seconds, par_early_share
    from features.pars
    where race_date >= cast($start as date) - 1095 and race_date <= cast($end as date)
),
calls as (
    select runner_key, race_key, call_number, calls, position_at_call, leader_elapsed_seconds
    from core.sectionals
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
race_times as (
    select race_key, min(time_seconds) as winner_seconds
    from results
    where position is not null
    group by race_key
),
race_deviations as (
    select
        races.race_date,
        races.race_key,
        races.track,
        races.level,
        pars.par_seconds,
        1000 * (race_times.winner_seconds / pars.par_seconds - 1) as deviation
    from races
    left join race_times on race_times.race_key = races.race_key
    left join pars on pars.race_key = races.race_key
),
level_days as (
    select level, race_date, count(deviation) as races, sum(deviation) as deviation
    from race_deviations
    group by level, race_date
),
level_pars as (
    select
        level,
        race_date,
        -- Better races are run faster; five races at par steady a class seldom seen.
        coalesce(sum(deviation) over career, 0) / (coalesce(sum(races) over career, 0) + 5) as level_deviation
    from level_days
    window career as (partition by level order by race_date range between 365 preceding and 1 preceding)
),
allowances as (
    select
        race_deviations.track,
        race_deviations.race_date,
        -- One race at par steadies a day with few races.
        sum(race_deviations.deviation - level_pars.level_deviation) / (count(race_deviations.deviation) + 1) as allowance
    from race_deviations
    inner join level_pars on level_pars.level = race_deviations.level and level_pars.race_date = race_deviations.race_date
    group by race_deviations.track, race_deviations.race_date
),
race_pars as (
    select
        race_deviations.race_key,
        race_deviations.par_seconds,
        allowances.allowance
    from race_deviations
    inner join allowances on allowances.track = race_deviations.track and allowances.race_date = race_deviations.race_date
),
runner_calls as (
    select
        runner_key,
        -- The last call is the finish; the one before it is the entry to the straight.
        max(case when call_number = calls - 1 then position_at_call end) as straight_position
    from calls
    where calls > 1
    group by runner_key
),
race_calls as (
    select
        race_key,
        max(case when call_number = calls - 1 then leader_elapsed_seconds end) / nullif(max(case when call_number = calls then leader_elapsed_seconds end), 0) as early_share
    from calls
    where calls > 1
    group by race_key
),
race_paces as (
    select race_calls.race_key, 1000 * (pars.par_early_share - race_calls.early_share) as early_pace
    from race_calls
    inner join pars on pars.race_key = race_calls.race_key
),
horse_days as (
    select
        entries.horse_key,
        entries.race_date,
        max(date_diff('day', date '2015-01-01', entries.race_date)) as day_number,
        -- Six percent slower than par is a horse that was eased: it says no more than that.
        max(case when results.position is not null and results.time_seconds is not null and race_pars.par_seconds is not null then greatest(100 - 1000 * (results.time_seconds / race_pars.par_seconds - 1) + race_pars.allowance, 40) end) as speed_figure,
        max(case when races.field_size > 1 then (runner_calls.straight_position - results.position) / (races.field_size - 1) end) as late_gain,
        max(race_paces.early_pace) as early_pace,
        max(races.trip) as trip
    from entries
    left join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
    left join race_pars on race_pars.race_key = entries.race_key
    left join runner_calls on runner_calls.runner_key = entries.runner_key
    left join race_paces on race_paces.race_key = entries.race_key
    group by entries.horse_key, entries.race_date
),
weighted_days as (
    select
        horse_key,
        race_date,
        day_number,
        speed_figure,
        late_gain,
        early_pace,
        trip,
        pow(2, day_number / 60.0) as weight_60d,
        pow(2, day_number / 365.0) as weight_365d
    from horse_days
),
horse_frames as (
    select
        *,
        -- Rows of the look-backs, counted once: a frame of so many rows is cheaper than searching the dates anew for every value.
        count(*) over days_730 as rows_730d,
        count(*) over days_365 as rows_365d,
        case when trip is not null then avg(speed_figure) over days_at_trip end as speed_at_trip,
        case when trip is not null then max(speed_figure) over days_at_trip end as speed_best_at_trip
    from weighted_days
    window
        days_at_trip as (partition by horse_key, trip order by race_date range between 730 preceding and 1 preceding),
        days_730 as (partition by horse_key order by race_date range between 730 preceding and 1 preceding),
        days_365 as (partition by horse_key order by race_date range between 365 preceding and 1 preceding)
),
horse_windows as (
    select
        horse_key,
        race_date,
        speed_at_trip,
        speed_best_at_trip,
        sum(speed_figure * weight_60d) over career / nullif(sum(case when speed_figure is not null then weight_60d end) over career, 0) as speed_ewma,
        max(speed_figure) over days_365 as speed_best,
        count(speed_figure) over days_365 as speed_runs,
        stddev_samp(speed_figure) over days_365 as speed_spread,
        regr_slope(speed_figure, day_number) over days_365 as speed_slope_per_day,
        last_value(speed_figure ignore nulls) over days_365 as speed_last,
        sum(late_gain * weight_365d) over career / nullif(sum(case when late_gain is not null then weight_365d end) over career, 0) as late_gain_ewma,
        sum(early_pace * weight_365d) over career / nullif(sum(case when early_pace is not null then weight_365d end) over career, 0) as early_pace_ewma
    from horse_frames
    window
        career as (partition by horse_key order by race_date rows between rows_730d preceding and 1 preceding),
        days_365 as (partition by horse_key order by race_date rows between rows_365d preceding and 1 preceding)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    windows.speed_ewma, -- time-weighted mean speed figure, half-life 60 days [points, 100 = par, 1 = 0.1% of par time]
    windows.speed_last, -- last speed figure in 365 days [points]
    windows.speed_best, -- best speed figure in 365 days [points]
    windows.speed_at_trip, -- mean speed figure at this course and distance in 730 days; null without a run there [points]
    windows.speed_best_at_trip, -- best speed figure at this course and distance in 730 days; null without a run there [points]
    windows.speed_spread, -- standard deviation of the speed figures in 365 days [points]
    case when windows.speed_runs >= 3 then windows.speed_slope_per_day * 30 end as speed_figure_trend, -- slope of the speed figures in 365 days; null under three [points per 30 days]
    windows.speed_runs, -- runs with a speed figure in 365 days [runs]
    windows.late_gain_ewma, -- time-weighted mean share of the field passed between the straight and the finish, half-life 365 days; null without calls [share]
    windows.early_pace_ewma -- time-weighted mean early pace of the horse's races against the par of course and distance, half-life 365 days; positive = fast early; null without calls [0.1% of the race time]
from entries
left join horse_windows as windows on windows.horse_key = entries.horse_key and windows.race_date = entries.race_date
where entries.race_date >= cast($start as date)
