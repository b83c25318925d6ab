-- grain: one row per runner
-- point in time: entries of this race and of strictly earlier race days; results of strictly earlier race days; the ability of a past run's jockey and the layoff before it as known before that run
-- look-back: 730 days of the horse's runs and of the trainer at the course; 365 days of the trainer's layoffs
-- description: What the connections do differently: jockey upgrade and change, layoff against the trainer's habit, headgear, distance, course and surface moves, the trainer at the course, the jockey on the horse.
with day_runners as (
    -- Whose past is asked for where the window is a single day; all of what has no bearing on them is left out below.
    select horse_key, trainer_key
    from core.entries
    where race_date = cast($start as date) and cast($start as date) = cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, horse_key, jockey_key, trainer_key, headgear, headgear_first_time
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
results as (
    select runner_key, won, position
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
races as (
    select race_key, hash(country, course) as course_key, case when surface is not null then hash(surface) end as surface, distance_furlongs, field_size
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
-- What was known before a run is on record with it.
abilities as (
    select runner_key, jockey_ability
    from features.jockey_velocity
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
absences as (
    select runner_key, layoff_days
    from features.class_layoff
    where race_date >= cast($start as date) - 365 and race_date <= cast($end as date)
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
        results.won is not null as has_run,
        -- What is summed travels as one whole number, a field of bits for each sum: one sum for all, exact in any order. The
        -- highest field counts the runs and fills first, where the cast to bigint refuses it: no field runs over unseen.
        -- Runs 2^47 (65536 of them fit), share of rivals beaten held to 2^-30.
        case
            when results.runner_key is null or races.field_size < 2 then null
            when results.position is null then 140737488355328
            else 140737488355328 + cast(round(1073741824.0 * (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)) as bigint)
        end as run_and_beaten,
        -- Runs from 2^62 up, wins from 2^42 (a million fit), wins expected held to 2^-24; the sum, of 128 bits, is never cast.
        case when entries.trainer_key is not null then 4611686018427387904 + 4398046511104 * results.won + cast(round(16777216.0 / races.field_size) as bigint) end as run_won_and_expected
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
),
-- Of a single day: what the horses have run, and its trainers at its courses.
day_courses as (
    select trainer_key, course_key
    from runs
    where race_date = cast($start as date) and cast($start as date) = cast($end as date)
),
asked_runs as (
    select *
    from runs
    where cast($start as date) < cast($end as date) or race_date = cast($start as date) or horse_key in (select horse_key from day_runners) or (trainer_key, course_key) in (select (trainer_key, course_key) from day_courses)
),
riders as (
    select
        asked_runs.*,
        abilities.jockey_ability,
        case when asked_runs.has_run then pow(2, date_diff('day', date '2015-01-01', asked_runs.race_date) / 180.0) end as weight_180d
    from asked_runs
    left join abilities on abilities.runner_key = asked_runs.runner_key
),
-- Windows of runners, not of days: their frames leave out the whole day, however many runners it has.
careers as (
    select
        *,
        -- The latest day's run, by the key of its runner: the same one in whatever order the rows come.
        max(case when has_run then date_diff('day', date '2000-01-01', race_date) * 18446744073709551616 + runner_key end) over career as last_run,
        sum(jockey_ability * weight_180d) over career / nullif(sum(case when jockey_ability is not null then weight_180d end) over career, 0) as past_jockey_ability
    from riders
    window career as (partition by horse_key order by race_date range between 730 preceding and 1 preceding)
),
cells as (
    select
        race_date,
        race_key,
        runner_key,
        jockey_key,
        trainer_key,
        headgear,
        headgear_first_time,
        course_key,
        surface,
        distance_furlongs,
        jockey_ability,
        past_jockey_ability,
        cast(last_run & 18446744073709551615 as bigint) as last_runner_key,
        coalesce(sum(run_won_and_expected) over course, 0) as course_runs_won_and_expected,
        coalesce(cast(sum(run_and_beaten) over pair as bigint), 0) as pair_runs_and_beaten
    from careers
    window
        course as (partition by trainer_key, course_key order by race_date range between 730 preceding and 1 preceding),
        pair as (partition by horse_key, jockey_key order by race_date range between 730 preceding and 1 preceding)
),
moves as (
    select
        today.race_date,
        today.race_key,
        today.runner_key,
        today.jockey_key,
        today.trainer_key,
        today.headgear_first_time,
        today.past_jockey_ability,
        today.course_runs_won_and_expected,
        today.pair_runs_and_beaten,
        last.jockey_key as last_jockey_key,
        today.jockey_ability - last.jockey_ability as jockey_upgrade,
        today.jockey_ability - today.past_jockey_ability as jockey_upgrade_ewma,
        cast(today.trainer_key <> last.trainer_key as integer) as trainer_change,
        cast(today.headgear <> last.headgear as integer) as headgear_change,
        cast(today.course_key <> last.course_key as integer) as course_change,
        cast(today.surface <> last.surface as integer) as surface_change,
        today.distance_furlongs - last.distance_furlongs as distance_move_furlongs
    from cells as today
    left join riders as last on last.runner_key = today.last_runner_key and last.race_date < today.race_date
    where today.race_date >= cast($start as date)
),
layoffs as (
    select
        entries.trainer_key,
        -- A single day's past is one day.
        greatest(entries.race_date, case when cast($start as date) = cast($end as date) then cast($start as date) - 1 end) as race_date,
        -- Layoffs 2^47, their logs, all under 8, held to 2^-27.
        140737488355328 + cast(round(134217728.0 * ln(absences.layoff_days)) as bigint) as layoff_and_log
    from entries
    inner join absences on absences.runner_key = entries.runner_key
    where entries.trainer_key is not null and absences.layoff_days is not null
        and entries.race_date >= cast($start as date) - 365
        and (cast($start as date) < cast($end as date) or entries.trainer_key in (select trainer_key from day_runners))
),
trainer_days as (
    select trainer_key, race_date, cast(sum(layoff_and_log) as bigint) as layoffs_and_logs
    from layoffs
    group by trainer_key, race_date
),
trainer_windows as (
    select
        trainer_key,
        race_date,
        cast(sum(layoffs_and_logs) over career as bigint) as layoffs_and_logs
    from trainer_days
    window career as (partition by trainer_key order by race_date range between 365 preceding and 1 preceding)
),
day_rides as (
    select jockey_key, race_date, count(*) as rides
    from entries
    where jockey_key is not null and race_date >= cast($start as date)
    group by jockey_key, race_date
),
stable_entries as (
    -- Most are alone, and go without a row.
    select race_key, trainer_key, count(*) as runners
    from entries
    where trainer_key is not null and race_date >= cast($start as date)
    group by race_key, trainer_key
    having count(*) > 1
),
reunions as (
    -- A rider of this race and a horse of it that the rider rode in its last run.
    select rider.runner_key as rider_key, horse.runner_key as horse_key
    from moves as horse
    inner join moves as rider on rider.race_key = horse.race_key and rider.jockey_key = horse.last_jockey_key
),
jockey_choices as (
    select rider_key, count(*) as horses
    from reunions
    group by rider_key
),
reunited_horses as (
    select distinct horse_key
    from reunions
),
trainer_impacts as (
    select runner_key, trainer_impact
    from features.trainer_velocity
    where race_date >= cast($start as date) and race_date <= cast($end as date)
)
select
    moves.race_date, -- day of the race [date]
    moves.race_key, -- key of the race [key]
    moves.runner_key, -- key of the runner [key]
    cast(moves.jockey_key <> moves.last_jockey_key as integer) as jockey_change, -- another jockey than last time; null without a run [0/1]
    moves.jockey_upgrade, -- share of rivals the jockey beat in 365 days less that of the last run's jockey as known then; null without a run [share]
    moves.jockey_upgrade_ewma, -- the same against the time-weighted mean of all past jockeys, half-life 180 days [share]
    moves.past_jockey_ability, -- time-weighted mean ability of the past jockeys, half-life 180 days [share]
    case when moves.last_jockey_key is not null then cast(moves.last_jockey_key <> moves.jockey_key and reunited_horses.horse_key is not null as integer) end as last_jockey_on_rival, -- the jockey of the last run rides another horse of this race; null without a run [0/1]
    cast(coalesce(jockey_choices.horses, 0) as integer) as jockey_choice, -- horses of this race the jockey rode in their last run: what there was to choose from [horses]
    case when moves.jockey_key is not null then cast(moves.pair_runs_and_beaten >> 47 as integer) end as jockey_horse_runs, -- runs of the horse under this jockey in 730 days [runs]
    case when moves.jockey_key is not null and moves.pair_runs_and_beaten > 0 then (moves.pair_runs_and_beaten & 140737488355327) / 1073741824.0 / (moves.pair_runs_and_beaten >> 47) end as jockey_horse_rivals_beaten, -- mean share of rivals beaten under this jockey; null without a run [share]
    moves.trainer_change, -- another trainer than last time; null without a run [0/1]
    ln(absences.layoff_days) - (trainer.layoffs_and_logs & 140737488355327) / 134217728.0 / (trainer.layoffs_and_logs >> 47) as layoff_vs_habit, -- log of the days since the last run less the trainer's mean of 365 days; null without a run [log days]
    moves.headgear_first_time, -- headgear worn for the first time; null where unknown [0/1]
    moves.headgear_change, -- headgear put on, off or changed since last time; null where unknown [0/1]
    moves.course_change, -- another course than last time; null without a run [0/1]
    moves.surface_change, -- another surface than last time; null without a run [0/1]
    moves.distance_move_furlongs, -- distance today less that of the last run [furlongs]
    case when moves.trainer_key is not null then (((moves.course_runs_won_and_expected >> 42) & 1048575) + coalesce(shrinkage.course_strength, 5) * trainer_impacts.trainer_impact) / ((moves.course_runs_won_and_expected & 4398046511103) / 16777216.0 + coalesce(shrinkage.course_strength, 5)) end as trainer_course_impact, -- the trainer's wins at the course against 1/field size, shrunk to the trainer's own with a prior of 5 expected wins until a year of results lies before [ratio]
    case when moves.trainer_key is not null then cast(moves.course_runs_won_and_expected >> 62 as integer) end as trainer_course_runs, -- the trainer's runs at the course in 730 days [runs]
    case when moves.trainer_key is not null then cast(coalesce(stable_entries.runners, 1) as integer) end as stable_runners, -- runners of the trainer in this race [runners]
    cast(day_rides.rides as integer) as jockey_rides_today -- rides of the jockey declared for the day [rides]
from moves
left join absences on absences.runner_key = moves.runner_key
left join day_rides on day_rides.jockey_key = moves.jockey_key and day_rides.race_date = moves.race_date
left join trainer_windows as trainer on trainer.trainer_key = moves.trainer_key and trainer.race_date = moves.race_date
left join reunited_horses on reunited_horses.horse_key = moves.runner_key
left join jockey_choices on jockey_choices.rider_key = moves.runner_key
left join stable_entries on stable_entries.race_key = moves.race_key and stable_entries.trainer_key = moves.trainer_key
left join trainer_impacts on trainer_impacts.runner_key = moves.runner_key
left join shrinkage on shrinkage.race_date = date_trunc('year', moves.race_date)
