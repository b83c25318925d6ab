-- grain: one row per runner
-- point in time: results of strictly earlier race days, the horse's own and, for the franking of its last race, those of the horses it met there
-- look-back: 730 days
-- description: A private handicap: what mark past performances were worth at the weights and the margins, how that compares with today's mark, and how the last race has worked out since.
with day_runners as (
    -- Whose past is asked for where the window is a single day; all of what has no bearing on them is left out below.
    select horse_key
    from core.entries
    where race_date = cast($start as date) and cast($start as date) = cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, horse_key, weight_lb, official_rating
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
results as (
    select
        race_key,
        runner_key,
        won,
        position,
        beaten_lengths
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
    select race_key, country, is_handicap, rating_band_high, field_size, distance_furlongs
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
-- Of a single day: what its runners have run, the last races among that, and the horses met there.
day_runs as (
    select race_date, race_key, runner_key, horse_key
    from entries
    where race_date <= cast($start as date) and horse_key in (select horse_key from day_runners)
),
day_last_days as (
    select day_runs.horse_key, max(day_runs.race_date) as race_date
    from day_runs
    inner join races on races.race_key = day_runs.race_key
    inner join results on results.runner_key = day_runs.runner_key
    where races.field_size > 1 and day_runs.race_date < cast($start as date)
    group by day_runs.horse_key
),
day_last_races as (
    select day_runs.race_key
    from day_runs
    inner join day_last_days on day_last_days.horse_key = day_runs.horse_key and day_last_days.race_date = day_runs.race_date
),
day_rivals as (
    select horse_key
    from entries
    where race_date < cast($start as date) and race_key in (select race_key from day_last_races)
),
runners as (
    select *
    from entries
    where cast($start as date) < cast($end as date) or race_key in (select race_key from day_runs) or horse_key in (select horse_key from day_rivals)
),
runs as (
    select
        runners.race_date,
        runners.race_key,
        runners.runner_key,
        runners.horse_key,
        runners.weight_lb,
        -- Where no rating is published the weights of a Hong Kong handicap give it: the top of the band carries 133 lb, a pound a point.
        coalesce(runners.official_rating, case when races.country = 'HK' and races.is_handicap then races.rating_band_high - 133 + runners.weight_lb end) as handicap_mark,
        -- Handicappers' pounds per length: 3 at 5 furlongs, 1.5 at 10; nobody is beaten by more than 20 lengths on merit; a winner beats the second by its margin.
        -- Held to 2^-20 (1048576 = 2^20): their sums are then exact in any order.
        round(1048576.0 * case
            when results.won = 1 then -(case when winning_margins.winning_margin > 10 then 10 else winning_margins.winning_margin end) * 15 / races.distance_furlongs
            when results.position is not null and results.beaten_lengths is not null then least(results.beaten_lengths, 20) * 15 / races.distance_furlongs
        end) / 1048576 as pounds_beaten,
        case
            when results.runner_key is null or races.field_size < 2 then null
            when results.position is null then 0
            -- Held to 2^-30 (1073741824 = 2^30): sums are then exact in any order, and a difference that is nothing is 0.
            else round(1073741824.0 * (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)) / 1073741824
        end as rivals_beaten
    from runners
    inner join races on races.race_key = runners.race_key
    left join results on results.runner_key = runners.runner_key
    left join winning_margins on winning_margins.race_key = runners.race_key
),
race_levels as (
    select
        race_key,
        avg(case when pounds_beaten is not null then handicap_mark - weight_lb end) as mark_less_weight,
        avg(case when handicap_mark is not null then pounds_beaten end) as pounds_beaten,
        avg(handicap_mark) as mean_mark
    from runs
    group by race_key
),
horse_days as (
    select
        runs.horse_key,
        runs.race_date,
        pow(2, max(date_diff('day', date '2015-01-01', runs.race_date)) / 90.0) as weight_90d,
        max(runs.race_key) as race_key,
        max(runs.handicap_mark) as handicap_mark,
        -- Held to the same: what differs from a mark by nothing differs by 0.
        avg(round(1048576.0 * (race_levels.mark_less_weight + runs.weight_lb + race_levels.pounds_beaten - runs.pounds_beaten))) / 1048576 as performance_lb,
        avg(case when runs.rivals_beaten is not null then race_levels.mean_mark end) as opposition_mark,
        avg(runs.rivals_beaten) as rivals_beaten
    from runs
    inner join race_levels on race_levels.race_key = runs.race_key
    where cast($start as date) < cast($end as date) or runs.horse_key in (select horse_key from day_runners) or runs.horse_key in (select horse_key from day_rivals)
    group by runs.horse_key, runs.race_date
),
horse_frames as (
    select
        *,
        -- Rows of the look-backs, counted once: a frame of so many rows is cheaper than searching the dates anew for every value.
        count(*) over days_730 as rows_730d,
        count(*) over days_365 as rows_365d
    from horse_days
    window
        days_730 as (partition by horse_key order by race_date range between 730 preceding and 1 preceding),
        days_365 as (partition by horse_key order by race_date range between 365 preceding and 1 preceding)
),
horse_windows as (
    select
        horse_key,
        race_date,
        handicap_mark,
        rivals_beaten,
        sum(performance_lb * weight_90d) over career / nullif(sum(case when performance_lb is not null then weight_90d end) over career, 0) as performance_ewma_lb,
        max(performance_lb) over days_365 as performance_best_lb,
        last_value(performance_lb ignore nulls) over career as performance_last_lb,
        max(handicap_mark) over career as mark_peak,
        sum(opposition_mark * weight_90d) over career / nullif(sum(case when opposition_mark is not null then weight_90d end) over career, 0) as opposition_mark_ewma,
        last_value(case when rivals_beaten is not null then race_key end ignore nulls) over career as last_race_key
    from horse_frames
    window
        career as (partition by horse_key order by race_date rows between rows_730d preceding and 1 preceding),
        days_365 as (partition by horse_key order by race_date rows between rows_365d preceding and 1 preceding)
),
next_runs as (
    -- Runs x 2^44 (17592186044416) and the shares of rivals beaten in units of 2^-30 share one number: one sum serves both.
    select last_race_key, race_date, cast(coalesce(sum(17592186044416 + cast(1073741824 * rivals_beaten as bigint)), 0) as bigint) as runs_and_beaten
    from horse_windows
    where last_race_key is not null
    group by last_race_key, race_date
),
runs_since as (
    select
        last_race_key,
        race_date,
        cast(sum(runs_and_beaten) over since as bigint) as runs_and_beaten
    from next_runs
    window since as (partition by last_race_key order by race_date range between 730 preceding and 1 preceding)
),
franking as (
    select
        last_race_key,
        race_date,
        -- Three runs at par steady a race few have run from since.
        ((runs_and_beaten & 17592186044415) / 1073741824 - 0.5 * (runs_and_beaten >> 44)) / ((runs_and_beaten >> 44) + 3) as race_franking
    from runs_since
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    windows.performance_ewma_lb, -- time-weighted mean mark the horse ran to, from weights and margins, half-life 90 days; null without rated races [points]
    windows.performance_ewma_lb - windows.handicap_mark as performance_gap_lb, -- that less today's mark; positive = well handicapped [points]
    windows.performance_last_lb - windows.handicap_mark as performance_last_gap_lb, -- mark the horse ran to last time less today's mark [points]
    windows.performance_best_lb - windows.handicap_mark as performance_best_gap_lb, -- best mark it ran to in 365 days less today's mark [points]
    windows.mark_peak - windows.handicap_mark as mark_below_peak, -- highest mark in 730 days less today's mark [points]
    windows.opposition_mark_ewma, -- time-weighted mean mark of the fields met, half-life 90 days [points]
    franking.race_franking -- share of rivals beaten, less a half, by the others of the last race in their next run, shrunk to 0; null while none has run [share]
from entries
left join horse_windows as windows on windows.horse_key = entries.horse_key and windows.race_date = entries.race_date
left join franking on franking.last_race_key = windows.last_race_key and franking.race_date = entries.race_date
where entries.race_date >= cast($start as date)
