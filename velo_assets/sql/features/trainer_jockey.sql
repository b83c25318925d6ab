-- grain: one row per runner
-- point in time: results of strictly earlier race days, collapsed to one row per pair and day before any window
-- look-back: 730 days
-- description: The trainer and jockey together, and the trainer and owner together: wins against what the trainer and the jockey each win with anybody.
with entries as (
    select race_date, race_key, runner_key, trainer_key, jockey_key, owner_key
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
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
    select runner_key, trainer_impact
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
        entries.trainer_key,
        entries.jockey_key,
        entries.owner_key,
        case when results.runner_key is not null then 1 else 0 end as runs,
        coalesce(results.won, 0) as wins,
        case when results.runner_key is not null then 1.0 / races.field_size else 0 end as expected_wins
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
    where entries.trainer_key is not null
),
pair_days as (
    select trainer_key, jockey_key, race_date, sum(runs) as runs, sum(wins) as wins, sum(expected_wins) as expected_wins
    from runs
    where jockey_key is not null
    group by trainer_key, jockey_key, race_date
),
pair_windows as (
    select
        trainer_key,
        jockey_key,
        race_date,
        coalesce(sum(runs) over career, 0) as runs,
        coalesce(sum(wins) over career, 0) as wins,
        coalesce(sum(expected_wins) over career, 0) as expected_wins
    from pair_days
    window career as (partition by trainer_key, jockey_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
trainer_days as (
    select trainer_key, race_date, sum(runs) as runs
    from runs
    group by trainer_key, race_date
),
trainer_windows as (
    select
        trainer_key,
        race_date,
        coalesce(sum(runs) over career, 0) as runs
    from trainer_days
    window career as (partition by trainer_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
owner_days as (
    select trainer_key, owner_key, race_date, sum(runs) as runs, sum(wins) as wins, sum(expected_wins) as expected_wins
    from runs
    where owner_key is not null
    group by trainer_key, owner_key, race_date
),
owner_windows as (
    select
        trainer_key,
        owner_key,
        race_date,
        coalesce(sum(runs) over career, 0) as runs,
        coalesce(sum(wins) over career, 0) as wins,
        coalesce(sum(expected_wins) over career, 0) as expected_wins
    from owner_days
    window career as (partition by trainer_key, owner_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
runners as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        entries.owner_key,
        pair_windows.runs as pair_runs,
        pair_windows.wins as pair_wins,
        pair_windows.expected_wins as pair_expected_wins,
        trainer_windows.runs as trainer_runs,
        owner_windows.runs as owner_runs,
        owner_windows.wins as owner_wins,
        owner_windows.expected_wins as owner_expected_wins,
        trainer_impacts.trainer_impact,
        jockey_impacts.jockey_impact,
        -- 5 expected wins stand in until a year of results lies before; a prior, not a fit.
        coalesce(shrinkage.pair_strength, 5) as pair_strength,
        coalesce(shrinkage.owner_strength, 5) as owner_strength
    from entries
    left join pair_windows
        on pair_windows.trainer_key = entries.trainer_key and pair_windows.jockey_key = entries.jockey_key and pair_windows.race_date = entries.race_date
    left join trainer_windows
        on trainer_windows.trainer_key = entries.trainer_key and trainer_windows.race_date = entries.race_date
    left join owner_windows
        on owner_windows.trainer_key = entries.trainer_key and owner_windows.owner_key = entries.owner_key and owner_windows.race_date = entries.race_date
    left join trainer_impacts on trainer_impacts.runner_key = entries.runner_key
    left join jockey_impacts on jockey_impacts.runner_key = entries.runner_key
    left join shrinkage on shrinkage.race_date = date_trunc('year', entries.race_date)
    where entries.race_date >= cast($start as date)
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
