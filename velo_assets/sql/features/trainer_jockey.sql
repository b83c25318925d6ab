-- grain: one row per runner
-- point in time: results of strictly earlier race days; every frame ends the day before
-- look-back: 730 days
-- description: The trainer and jockey together, and the trainer and owner together: wins against what the trainer and the jockey each win with anybody.
with day_runners as (
    -- Whose past is asked for where the window is a single day; all of what has no bearing on them is left out below.
    select trainer_key, jockey_key, owner_key
    from core.entries
    where race_date = cast($start as date) and cast($start as date) = cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, trainer_key, jockey_key, owner_key
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
        and (
            cast($start as date) < cast($end as date)
            or race_date = cast($start as date)
            or (trainer_key, jockey_key) in (select (trainer_key, jockey_key) from day_runners)
            or (trainer_key, owner_key) in (select (trainer_key, owner_key) from day_runners)
        )
),
results as (
    select runner_key, won
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
races as (
    select race_key, field_size
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
trainer_impacts as (
    select runner_key, trainer_impact, trainer_runs_career
    from features.trainer_velocity
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
jockey_impacts as (
    select runner_key, jockey_impact
    from features.jockey_velocity
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
shrinkage as (
    select
        race_date,
        max(strength_expected_wins) filter (where entity = 'trainer with jockey') as pair_strength,
        max(strength_expected_wins) filter (where entity = 'trainer with owner') as owner_strength
    from features.shrinkage
    group by race_date
),
runs as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        entries.trainer_key,
        entries.jockey_key,
        entries.owner_key,
        -- Three counts in one number, so that a window sums once: runs from 2^62 (4611686018427387904) up, below them wins from
        -- 2^42 (4398046511104) up, below them 1/field size held to 2^-24 (16777216 = 2^24). Sums, of 128 bits, are exact in
        -- any order, and hold as long as a pair has under 2^18 runs in two years.
        case
            when results.runner_key is not null
                then 4611686018427387904 + coalesce(results.won, 0) * 4398046511104 + cast(round(16777216.0 / races.field_size) as bigint)
        end as outcome
    from entries
    left join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
),
-- Hardly a pair has two runs on one day, so the windows run over runners. Frames count whole days: with intervals every
-- bound would be worked out as a timestamp.
windows as (
    select
        race_date,
        race_key,
        runner_key,
        case when trainer_key is not null and jockey_key is not null then coalesce(sum(outcome) over pair, 0) end as pair_outcome,
        case when trainer_key is not null and owner_key is not null then coalesce(sum(outcome) over owner, 0) end as owner_outcome
    from runs
    window
        pair as (partition by trainer_key, jockey_key order by race_date range between 730 preceding and 1 preceding),
        owner as (partition by trainer_key, owner_key order by race_date range between 730 preceding and 1 preceding)
),
runners as (
    select
        windows.race_date,
        windows.race_key,
        windows.runner_key,
        windows.pair_outcome >> 62 as pair_runs,
        (windows.pair_outcome >> 42) & 1048575 as pair_wins,
        (windows.pair_outcome & 4398046511103) / 16777216 as pair_expected_wins,
        windows.owner_outcome >> 62 as owner_runs,
        (windows.owner_outcome >> 42) & 1048575 as owner_wins,
        (windows.owner_outcome & 4398046511103) / 16777216 as owner_expected_wins,
        trainer_impacts.trainer_runs_career as trainer_runs,
        trainer_impacts.trainer_impact,
        jockey_impacts.jockey_impact,
        -- 5 expected wins stand in until a year of results lies before; a prior, not a fit.
        coalesce(shrinkage.pair_strength, 5) as pair_strength,
        coalesce(shrinkage.owner_strength, 5) as owner_strength
    from windows
    left join trainer_impacts on trainer_impacts.runner_key = windows.runner_key
    left join jockey_impacts on jockey_impacts.runner_key = windows.runner_key
    left join shrinkage on shrinkage.race_date = date_trunc('year', windows.race_date)
    where windows.race_date >= cast($start as date)
)
select
    race_date, -- day of the race [date]
    race_key, -- key of the race [key]
    runner_key, -- key of the runner [key]
    (pair_wins + pair_strength) / (pair_expected_wins * trainer_impact * jockey_impact + pair_strength) - 1 as tj_combo_uplift, -- wins of the pair against what the trainer and the jockey win with anybody, shrunk, less 1 [ratio]
    cast(pair_runs as integer) as tj_combo_runs, -- runs of the pair in the last 730 days [runs]
    (pair_wins + pair_strength) / (pair_expected_wins + pair_strength) as tj_combo_impact, -- wins of the pair against 1/field size, shrunk to 1 [ratio]
    pair_runs / nullif(trainer_runs, 0) as tj_combo_share, -- share of the trainer's runs of the last 730 days ridden by this jockey [share]
    cast(owner_runs as integer) as owner_trainer_runs, -- runs of the owner with the trainer in the last 730 days; null without an owner [runs]
    (owner_wins + owner_strength * trainer_impact) / (owner_expected_wins + owner_strength) as owner_trainer_impact -- wins of the owner with the trainer against 1/field size, shrunk to the trainer's own; null without an owner [ratio]
from runners
