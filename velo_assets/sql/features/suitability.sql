-- grain: one row per runner
-- point in time: the horse's own results of strictly earlier race days
-- look-back: 730 days, horses that run in the window only
-- description: Course, going and distance suitability: what the horse does under today's conditions beyond what it does in general, shrunk to nothing.
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
    select runner_key, position
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
races as (
    select
        race_key,
        hash(country, course, surface) as course_key,
        going_group,
        case
            when distance_furlongs < 6.5 then 1
            when distance_furlongs < 9.5 then 2
            when distance_furlongs < 13.5 then 3
            when distance_furlongs is not null then 4
        end as distance_band,
        distance_furlongs,
        field_size
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
targets as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        entries.horse_key,
        races.course_key,
        races.going_group,
        races.distance_band,
        races.distance_furlongs
    from entries
    inner join races on races.race_key = entries.race_key
    where entries.race_date >= cast($start as date)
),
runs as (
    select
        entries.horse_key,
        entries.race_date,
        races.course_key,
        races.going_group,
        races.distance_band,
        races.distance_furlongs,
        -- Held to 2^-30 (1073741824 = 2^30): sums are then exact in any order, and a difference that is nothing is 0.
        case when results.position is null then 0 else round(1073741824.0 * (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)) / 1073741824 end as rivals_beaten
    from entries
    inner join results on results.runner_key = entries.runner_key
    inner join races on races.race_key = entries.race_key
    where races.field_size > 1
),
careers as (
    select
        targets.runner_key,
        targets.race_date,
        avg(runs.rivals_beaten) as rivals_beaten,
        -- Winning runs say most about a trip: the square of the share of rivals beaten.
        sum(round(1073741824 * runs.rivals_beaten * runs.rivals_beaten * runs.distance_furlongs))
        / nullif(sum(case when runs.distance_furlongs is not null then round(1073741824 * runs.rivals_beaten * runs.rivals_beaten) end), 0) as best_distance_furlongs,
        count(*) filter (where runs.course_key = targets.course_key) as course_runs,
        coalesce(sum(runs.rivals_beaten) filter (where runs.course_key = targets.course_key), 0) as course_beaten,
        count(*) filter (where runs.going_group = targets.going_group) as going_runs,
        coalesce(sum(runs.rivals_beaten) filter (where runs.going_group = targets.going_group), 0) as going_beaten,
        count(*) filter (where runs.distance_band = targets.distance_band) as distance_runs,
        coalesce(sum(runs.rivals_beaten) filter (where runs.distance_band = targets.distance_band), 0) as distance_beaten
    from targets
    inner join runs
        on runs.horse_key = targets.horse_key and runs.race_date < targets.race_date and runs.race_date >= targets.race_date - 730
    group by targets.runner_key, targets.race_date
),
affinities as (
    select
        targets.race_date,
        targets.race_key,
        targets.runner_key,
        -- Four runs at the horse's own mean steady a condition seldom tried: a prior, not a fit.
        (careers.course_beaten - careers.course_runs * careers.rivals_beaten) / (careers.course_runs + 4) as course_affinity,
        case when targets.going_group is not null then (careers.going_beaten - careers.going_runs * careers.rivals_beaten) / (careers.going_runs + 4) end as going_affinity,
        case when targets.distance_band is not null then (careers.distance_beaten - careers.distance_runs * careers.rivals_beaten) / (careers.distance_runs + 4) end as distance_affinity,
        cast(coalesce(careers.course_runs, 0) as integer) as course_runs,
        case when targets.going_group is not null then cast(coalesce(careers.going_runs, 0) as integer) end as going_runs,
        case when targets.distance_band is not null then cast(coalesce(careers.distance_runs, 0) as integer) end as distance_runs,
        targets.distance_furlongs - careers.best_distance_furlongs as distance_from_best_furlongs
    from targets
    left join careers on careers.runner_key = targets.runner_key and careers.race_date = targets.race_date
)
select
    race_date, -- day of the race [date]
    race_key, -- key of the race [key]
    runner_key, -- key of the runner [key]
    course_affinity, -- share of rivals the horse beats at this course and surface beyond its mean, shrunk to 0; null without a run [share]
    going_affinity, -- the same on this going [share]
    distance_affinity, -- the same in this distance band (to 6.4, 9.4, 13.4 furlongs, beyond) [share]
    course_runs, -- runs at this course and surface in 730 days [runs]
    going_runs, -- runs on this going in 730 days [runs]
    distance_runs, -- runs in this distance band in 730 days [runs]
    distance_from_best_furlongs, -- distance today less the horse's mean distance weighted by performance [furlongs]
    abs(distance_from_best_furlongs) as distance_mismatch_furlongs -- size of that difference [furlongs]
from affinities
