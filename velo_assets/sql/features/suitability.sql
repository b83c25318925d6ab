-- grain: one row per runner
-- point in time: the horse's own results of strictly earlier race days, collapsed to one row per horse, condition and day
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
runs as (
    select
        entries.horse_key,
        entries.race_date,
        races.course_key,
        races.going_group,
        races.distance_band,
        races.distance_furlongs,
        case
            when results.runner_key is null or races.field_size < 2 then null
            when results.position is null then 0
            else (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)
        end as rivals_beaten
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
),
horse_days as (
    select
        horse_key,
        race_date,
        any_value(course_key) as course_key,
        any_value(going_group) as going_group,
        any_value(distance_band) as distance_band,
        any_value(distance_furlongs) as distance_furlongs,
        avg(rivals_beaten) as rivals_beaten,
        -- Winning runs say most about a trip: the square of the share of rivals beaten.
        avg(rivals_beaten * rivals_beaten) as performance
    from runs
    group by horse_key, race_date
),
horse_windows as (
    select
        horse_key,
        race_date,
        course_key,
        going_group,
        distance_band,
        distance_furlongs,
        avg(rivals_beaten) over career as rivals_beaten,
        sum(performance * distance_furlongs) over career / nullif(sum(case when distance_furlongs is not null then performance end) over career, 0) as best_distance_furlongs
    from horse_days
    window career as (partition by horse_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
course_windows as (
    select
        horse_key,
        race_date,
        count(rivals_beaten) over career as runs,
        coalesce(sum(rivals_beaten) over career, 0) as rivals_beaten
    from horse_days
    window career as (partition by horse_key, course_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
going_windows as (
    select
        horse_key,
        race_date,
        count(rivals_beaten) over career as runs,
        coalesce(sum(rivals_beaten) over career, 0) as rivals_beaten
    from horse_days
    window career as (partition by horse_key, going_group order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
distance_windows as (
    select
        horse_key,
        race_date,
        count(rivals_beaten) over career as runs,
        coalesce(sum(rivals_beaten) over career, 0) as rivals_beaten
    from horse_days
    window career as (partition by horse_key, distance_band order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
affinities as (
    select
        horse_windows.horse_key,
        horse_windows.race_date,
        -- Four runs at the horse's own mean steady a condition seldom tried: a prior, not a fit.
        (course_windows.rivals_beaten - course_windows.runs * horse_windows.rivals_beaten) / (course_windows.runs + 4) as course_affinity,
        case when horse_windows.going_group is not null then (going_windows.rivals_beaten - going_windows.runs * horse_windows.rivals_beaten) / (going_windows.runs + 4) end as going_affinity,
        case when horse_windows.distance_band is not null then (distance_windows.rivals_beaten - distance_windows.runs * horse_windows.rivals_beaten) / (distance_windows.runs + 4) end as distance_affinity,
        course_windows.runs as course_runs,
        case when horse_windows.going_group is not null then going_windows.runs end as going_runs,
        case when horse_windows.distance_band is not null then distance_windows.runs end as distance_runs,
        horse_windows.distance_furlongs - horse_windows.best_distance_furlongs as distance_from_best_furlongs,
        abs(horse_windows.distance_furlongs - horse_windows.best_distance_furlongs) as distance_mismatch_furlongs
    from horse_windows
    inner join course_windows on course_windows.horse_key = horse_windows.horse_key and course_windows.race_date = horse_windows.race_date
    inner join going_windows on going_windows.horse_key = horse_windows.horse_key and going_windows.race_date = horse_windows.race_date
    inner join distance_windows on distance_windows.horse_key = horse_windows.horse_key and distance_windows.race_date = horse_windows.race_date
    where horse_windows.race_date >= cast($start as date)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    affinities.course_affinity, -- share of rivals the horse beats at this course and surface beyond its mean, shrunk to 0; null without a run [share]
    affinities.going_affinity, -- the same on this going [share]
    affinities.distance_affinity, -- the same in this distance band (to 6.4, 9.4, 13.4 furlongs, beyond) [share]
    affinities.course_runs, -- runs at this course and surface in 730 days [runs]
    affinities.going_runs, -- runs on this going in 730 days [runs]
    affinities.distance_runs, -- runs in this distance band in 730 days [runs]
    affinities.distance_from_best_furlongs, -- distance today less the horse's mean distance weighted by performance [furlongs]
    affinities.distance_mismatch_furlongs -- size of that difference [furlongs]
from entries
left join affinities on affinities.horse_key = entries.horse_key and affinities.race_date = entries.race_date
where entries.race_date >= cast($start as date)
