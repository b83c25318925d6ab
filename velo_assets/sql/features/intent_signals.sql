-- grain: one row per runner
-- point in time: entries of this race and of strictly earlier race days; results of strictly earlier race days
-- look-back: 730 days of the horse's runs and 365 days of its jockeys before each; 365 days of the trainer's layoffs; 730 days of the trainer at the course
-- description: What the connections do differently: jockey upgrade and change, layoff against the trainer's habit, headgear, distance, course and surface moves, the trainer at the course, the jockey on the horse.
with entries as (
    select race_date, race_key, runner_key, horse_key, jockey_key, trainer_key, headgear, headgear_first_time
    from core.entries
    where race_date >= cast($start as date) - 1095 and race_date <= cast($end as date)
),
results as (
    select runner_key, won, position
    from core.results
    where race_date >= cast($start as date) - 1095 and race_date <= cast($end as date)
),
races as (
    select race_key, hash(country, course) as course_key, case when surface is not null then hash(surface) end as surface, distance_furlongs, field_size
    from core.races
    where race_date >= cast($start as date) - 1095 and race_date <= cast($end as date)
),
shrinkage as (
    select
        race_date,
        max(strength_expected_wins) filter (where entity = 'trainer at course') as course_strength
    from features.shrinkage
    group by race_date
),
runs as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        entries.horse_key,
        entries.jockey_key,
        entries.trainer_key,
        -- Where a file knows no headgear it is null; none is the empty text.
        case when entries.headgear is not null then hash(entries.headgear) end as headgear,
        cast(entries.headgear_first_time as integer) as headgear_first_time,
        races.course_key,
        races.surface,
        races.distance_furlongs,
        results.won,
        case when results.won is not null then 1.0 / races.field_size end as expected,
        case
            when results.runner_key is null or races.field_size < 2 then null
            when results.position is null then 0
            else (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)
        end as rivals_beaten
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
),
jockey_days as (
    select jockey_key, race_date, count(rivals_beaten) as runs, coalesce(sum(rivals_beaten), 0) as rivals_beaten
    from runs
    where jockey_key is not null
    group by jockey_key, race_date
),
jockey_windows as (
    select
        jockey_key,
        race_date,
        -- Fifty rides at the half steady a new jockey: a prior, not a fit.
        (coalesce(sum(rivals_beaten) over days_365, 0) + 25) / (coalesce(sum(runs) over days_365, 0) + 50) as jockey_ability
    from jockey_days
    window days_365 as (partition by jockey_key order by race_date range between interval 365 day preceding and interval 1 day preceding)
),
window_horses as (
    select distinct horse_key
    from entries
    where race_date >= cast($start as date)
),
horse_days as (
    select
        runs.horse_key,
        runs.race_date,
        pow(2, max(date_diff('day', date '2015-01-01', runs.race_date)) / 180.0) as weight_180d,
        max(runs.trainer_key) as trainer_key,
        max(runs.jockey_key) as jockey_key,
        max(jockey_windows.jockey_ability) as jockey_ability,
        -- -1 and 0 stand for an unknown value of a run, so that a lag over runs never steps back to an older run.
        max(case when runs.won is not null then runs.race_date end) as run_date,
        max(case when runs.won is not null then coalesce(runs.jockey_key, -1) end) as run_jockey_key,
        max(case when runs.won is not null then coalesce(runs.trainer_key, -1) end) as run_trainer_key,
        max(case when runs.won is not null then coalesce(runs.headgear, 0) end) as run_headgear,
        max(case when runs.won is not null then runs.course_key end) as run_course_key,
        max(case when runs.won is not null then coalesce(runs.surface, 0) end) as run_surface,
        max(case when runs.won is not null then coalesce(runs.distance_furlongs, -1) end) as run_distance_furlongs,
        max(case when runs.won is not null then coalesce(jockey_windows.jockey_ability, -1) end) as run_jockey_ability
    from runs
    left join jockey_windows on jockey_windows.jockey_key = runs.jockey_key and jockey_windows.race_date = runs.race_date
    group by runs.horse_key, runs.race_date
),
horse_lags as (
    select
        horse_key,
        race_date,
        trainer_key,
        jockey_key,
        jockey_ability,
        lag(run_date, 1 ignore nulls) over runs as last_date,
        lag(run_jockey_key, 1 ignore nulls) over runs as last_jockey_key,
        lag(run_trainer_key, 1 ignore nulls) over runs as last_trainer_key,
        lag(run_headgear, 1 ignore nulls) over runs as last_headgear,
        lag(run_course_key, 1 ignore nulls) over runs as last_course_key,
        lag(run_surface, 1 ignore nulls) over runs as last_surface,
        lag(run_distance_furlongs, 1 ignore nulls) over runs as last_distance_furlongs,
        lag(run_jockey_ability, 1 ignore nulls) over runs as last_jockey_ability,
        sum(case when run_jockey_ability >= 0 then run_jockey_ability * weight_180d end) over career / nullif(sum(case when run_jockey_ability >= 0 then weight_180d end) over career, 0) as past_jockey_ability
    from horse_days
    window
        career as (partition by horse_key order by race_date range between interval 730 day preceding and interval 1 day preceding),
        runs as (partition by horse_key order by race_date)
),
horse_windows as (
    select
        horse_key,
        race_date,
        trainer_key,
        jockey_key,
        jockey_ability,
        past_jockey_ability,
        -- A lag knows no look-back of its own; the date beside it gives it that of the frames.
        case when race_date - last_date <= 730 then last_date end as last_date,
        case when race_date - last_date <= 730 then nullif(last_jockey_key, -1) end as last_jockey_key,
        case when race_date - last_date <= 730 then nullif(last_trainer_key, -1) end as last_trainer_key,
        case when race_date - last_date <= 730 then nullif(last_headgear, 0) end as last_headgear,
        case when race_date - last_date <= 730 then last_course_key end as last_course_key,
        case when race_date - last_date <= 730 then nullif(last_surface, 0) end as last_surface,
        case when race_date - last_date <= 730 then nullif(last_distance_furlongs, -1) end as last_distance_furlongs,
        case when race_date - last_date <= 730 then nullif(last_jockey_ability, -1) end as last_jockey_ability
    from horse_lags
),
trainer_days as (
    select
        trainer_key,
        race_date,
        count(last_date) as layoffs,
        coalesce(sum(ln(date_diff('day', last_date, race_date))), 0) as log_layoff_days
    from horse_windows
    where trainer_key is not null
    group by trainer_key, race_date
),
trainer_windows as (
    select
        trainer_key,
        race_date,
        sum(log_layoff_days) over career / nullif(sum(layoffs) over career, 0) as mean_log_layoff_days
    from trainer_days
    window career as (partition by trainer_key order by race_date range between interval 365 day preceding and interval 1 day preceding)
),
course_days as (
    select trainer_key, course_key, race_date, count(won) as runs, sum(won) as wins, sum(expected) as expected
    from runs
    where trainer_key is not null and race_date >= cast($start as date) - 730
    group by trainer_key, course_key, race_date
),
course_windows as (
    select
        trainer_key,
        course_key,
        race_date,
        coalesce(sum(runs) over career, 0) as runs,
        coalesce(sum(wins) over career, 0) as wins,
        coalesce(sum(expected) over career, 0) as expected
    from course_days
    window career as (partition by trainer_key, course_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
pair_days as (
    select horse_key, jockey_key, race_date, count(rivals_beaten) as runs, coalesce(sum(rivals_beaten), 0) as rivals_beaten
    from runs
    where jockey_key is not null and race_date >= cast($start as date) - 730 and horse_key in (select horse_key from window_horses)
    group by horse_key, jockey_key, race_date
),
pair_windows as (
    select
        horse_key,
        jockey_key,
        race_date,
        coalesce(sum(runs) over career, 0) as runs,
        sum(rivals_beaten) over career / nullif(sum(runs) over career, 0) as rivals_beaten
    from pair_days
    window career as (partition by horse_key, jockey_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
jockeys_in_race as (
    select distinct race_key, jockey_key
    from runs
    where jockey_key is not null and race_date >= cast($start as date)
),
jockey_choices as (
    select runs.race_key, horse_windows.last_jockey_key, count(*) as horses
    from runs
    inner join horse_windows on horse_windows.horse_key = runs.horse_key and horse_windows.race_date = runs.race_date
    where runs.race_date >= cast($start as date) and horse_windows.last_jockey_key is not null
    group by runs.race_key, horse_windows.last_jockey_key
),
stable_entries as (
    select race_key, trainer_key, count(*) as runners
    from runs
    where trainer_key is not null and race_date >= cast($start as date)
    group by race_key, trainer_key
),
booked_rides as (
    select jockey_key, race_date, count(*) as rides
    from runs
    where jockey_key is not null and race_date >= cast($start as date)
    group by jockey_key, race_date
),
trainer_impacts as (
    select runner_key, trainer_impact
    from features.trainer_velocity
    where race_date >= cast($start as date) and race_date <= cast($end as date)
)
select
    runs.race_date, -- day of the race [date]
    runs.race_key, -- key of the race [key]
    runs.runner_key, -- key of the runner [key]
    case when horse.jockey_key is not null and horse.last_jockey_key is not null then cast(horse.jockey_key <> horse.last_jockey_key as integer) end as jockey_change, -- another jockey than last time; null without a run [0/1]
    horse.jockey_ability - horse.last_jockey_ability as jockey_upgrade, -- share of rivals the jockey beat in 365 days less that of the last run's jockey as known then; null without a run [share]
    horse.jockey_ability - horse.past_jockey_ability as jockey_upgrade_ewma, -- the same against the time-weighted mean of all past jockeys, half-life 180 days [share]
    horse.past_jockey_ability, -- time-weighted mean ability of the past jockeys, half-life 180 days [share]
    case when horse.last_jockey_key is not null then cast(horse.last_jockey_key <> runs.jockey_key and jockeys_in_race.jockey_key is not null as integer) end as last_jockey_on_rival, -- the jockey of the last run rides another horse of this race; null without a run [0/1]
    cast(coalesce(jockey_choices.horses, 0) as integer) as jockey_choice, -- horses of this race the jockey rode in their last run: what there was to choose from [horses]
    cast(pair.runs as integer) as jockey_horse_runs, -- runs of the horse under this jockey in 730 days [runs]
    pair.rivals_beaten as jockey_horse_rivals_beaten, -- mean share of rivals beaten under this jockey; null without a run [share]
    case when horse.trainer_key is not null and horse.last_trainer_key is not null then cast(horse.trainer_key <> horse.last_trainer_key as integer) end as trainer_change, -- another trainer than last time; null without a run [0/1]
    ln(date_diff('day', horse.last_date, runs.race_date)) - trainer.mean_log_layoff_days as layoff_vs_habit, -- log of the days since the last run less the trainer's mean of 365 days; null without a run [log days]
    runs.headgear_first_time, -- headgear worn for the first time; null where unknown [0/1]
    case when runs.headgear is not null and horse.last_headgear is not null then cast(runs.headgear <> horse.last_headgear as integer) end as headgear_change, -- headgear put on, off or changed since last time; null where unknown [0/1]
    case when horse.last_course_key is not null then cast(runs.course_key <> horse.last_course_key as integer) end as course_change, -- another course than last time; null without a run [0/1]
    case when horse.last_surface is not null then cast(runs.surface <> horse.last_surface as integer) end as surface_change, -- another surface than last time; null without a run [0/1]
    runs.distance_furlongs - horse.last_distance_furlongs as distance_move_furlongs, -- distance today less that of the last run [furlongs]
    (course.wins + coalesce(shrinkage.course_strength, 5) * trainer_impacts.trainer_impact) / (course.expected + coalesce(shrinkage.course_strength, 5)) as trainer_course_impact, -- the trainer's wins at the course against 1/field size, shrunk to the trainer's own with a prior of 5 expected wins until a year of results lies before [ratio]
    cast(course.runs as integer) as trainer_course_runs, -- the trainer's runs at the course in 730 days [runs]
    cast(stable_entries.runners as integer) as stable_runners, -- runners of the trainer in this race [runners]
    cast(booked_rides.rides as integer) as jockey_rides_today -- rides of the jockey declared for the day [rides]
from runs
left join horse_windows as horse on horse.horse_key = runs.horse_key and horse.race_date = runs.race_date
left join trainer_windows as trainer on trainer.trainer_key = runs.trainer_key and trainer.race_date = runs.race_date
left join course_windows as course on course.trainer_key = runs.trainer_key and course.course_key = runs.course_key and course.race_date = runs.race_date
left join pair_windows as pair on pair.horse_key = runs.horse_key and pair.jockey_key = runs.jockey_key and pair.race_date = runs.race_date
left join jockeys_in_race on jockeys_in_race.race_key = runs.race_key and jockeys_in_race.jockey_key = horse.last_jockey_key
left join jockey_choices on jockey_choices.race_key = runs.race_key and jockey_choices.last_jockey_key = runs.jockey_key
left join stable_entries on stable_entries.race_key = runs.race_key and stable_entries.trainer_key = runs.trainer_key
left join booked_rides on booked_rides.jockey_key = runs.jockey_key and booked_rides.race_date = runs.race_date
left join trainer_impacts on trainer_impacts.runner_key = runs.runner_key
left join shrinkage on shrinkage.race_date = date_trunc('year', runs.race_date)
where runs.race_date >= cast($start as date)
