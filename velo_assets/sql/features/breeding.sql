-- grain: one row per runner
-- point in time: results of strictly earlier race days, collapsed to one row per parent, condition and day before any window
-- look-back: 730 days
-- description: Wins of the progeny of the runner's sire, dam and dam's sire against 1/field size, over all, on today's going and in today's distance band, shrunk; null where the pedigree is blank.
with entries as (
    select
        race_date,
        race_key,
        runner_key,
        case when sire <> '' then hash(sire) end as sire_key,
        case when dam <> '' then hash(dam) end as dam_key,
        case when damsire <> '' then hash(damsire) end as damsire_key
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
results as (
    select runner_key, won
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
races as (
    select
        race_key,
        coalesce(going_group, '') as going_group,
        case
            when distance_furlongs < 6.5 then 1
            when distance_furlongs < 9.5 then 2
            when distance_furlongs < 13.5 then 3
            when distance_furlongs is not null then 4
            else 0
        end as distance_band,
        field_size
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
shrinkage as (
    select
        race_date,
        max(strength_expected_wins) filter (where entity = 'sire') as sire_strength,
        max(strength_expected_wins) filter (where entity = 'horse') as horse_strength
    from features.shrinkage
    group by race_date
),
runs as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        entries.sire_key,
        entries.dam_key,
        entries.damsire_key,
        races.going_group,
        races.distance_band,
        results.won,
        case when results.won is not null then 1.0 / races.field_size end as expected
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
    where entries.sire_key is not null or entries.dam_key is not null or entries.damsire_key is not null
),
sire_cells as (
    select sire_key, going_group, distance_band, race_date, sum(won) as wins, sum(expected) as expected
    from runs
    where sire_key is not null
    group by sire_key, going_group, distance_band, race_date
),
sire_days as (
    select sire_key, race_date, sum(wins) as wins, sum(expected) as expected
    from sire_cells
    group by sire_key, race_date
),
sire_windows as (
    select
        sire_key,
        race_date,
        coalesce(sum(wins) over career, 0) as wins,
        coalesce(sum(expected) over career, 0) as expected
    from sire_days
    window career as (partition by sire_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
sire_going_days as (
    select sire_key, going_group, race_date, sum(wins) as wins, sum(expected) as expected
    from sire_cells
    group by sire_key, going_group, race_date
),
sire_going_windows as (
    select
        sire_key,
        going_group,
        race_date,
        coalesce(sum(wins) over career, 0) as wins,
        coalesce(sum(expected) over career, 0) as expected
    from sire_going_days
    window career as (partition by sire_key, going_group order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
sire_distance_days as (
    select sire_key, distance_band, race_date, sum(wins) as wins, sum(expected) as expected
    from sire_cells
    group by sire_key, distance_band, race_date
),
sire_distance_windows as (
    select
        sire_key,
        distance_band,
        race_date,
        coalesce(sum(wins) over career, 0) as wins,
        coalesce(sum(expected) over career, 0) as expected
    from sire_distance_days
    window career as (partition by sire_key, distance_band order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
dam_days as (
    select dam_key, race_date, sum(won) as wins, sum(expected) as expected
    from runs
    where dam_key is not null
    group by dam_key, race_date
),
dam_windows as (
    select
        dam_key,
        race_date,
        coalesce(sum(wins) over career, 0) as wins,
        coalesce(sum(expected) over career, 0) as expected
    from dam_days
    window career as (partition by dam_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
damsire_days as (
    select damsire_key, race_date, sum(won) as wins, sum(expected) as expected
    from runs
    where damsire_key is not null
    group by damsire_key, race_date
),
damsire_windows as (
    select
        damsire_key,
        race_date,
        coalesce(sum(wins) over career, 0) as wins,
        coalesce(sum(expected) over career, 0) as expected
    from damsire_days
    window career as (partition by damsire_key order by race_date range between interval 730 day preceding and interval 1 day preceding)
),
targets as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        entries.sire_key,
        entries.dam_key,
        entries.damsire_key,
        races.going_group,
        races.distance_band,
        -- 10 and 5 expected wins stand in until a year of results lies before; priors, not fits.
        coalesce(shrinkage.sire_strength, 10) as sire_strength,
        coalesce(shrinkage.horse_strength, 5) as horse_strength
    from entries
    inner join races on races.race_key = entries.race_key
    left join shrinkage on shrinkage.race_date = date_trunc('year', entries.race_date)
    where entries.race_date >= cast($start as date)
)
select
    targets.race_date, -- day of the race [date]
    targets.race_key, -- key of the race [key]
    targets.runner_key, -- key of the runner [key]
    (sire.wins + targets.sire_strength) / (sire.expected + targets.sire_strength) as sire_impact, -- wins of the sire's progeny against 1/field size, shrunk to 1; null without a sire [ratio]
    (going.wins + targets.sire_strength * (sire.wins + targets.sire_strength) / (sire.expected + targets.sire_strength)) / (going.expected + targets.sire_strength) as sire_going_impact, -- the same on today's going, shrunk to the sire's own [ratio]
    (distance.wins + targets.sire_strength * (sire.wins + targets.sire_strength) / (sire.expected + targets.sire_strength)) / (distance.expected + targets.sire_strength) as sire_distance_impact, -- the same in today's distance band, shrunk to the sire's own [ratio]
    (dam.wins + targets.horse_strength) / (dam.expected + targets.horse_strength) as dam_impact, -- wins of the dam's progeny against 1/field size, shrunk to 1; null without a dam [ratio]
    (damsire.wins + targets.sire_strength) / (damsire.expected + targets.sire_strength) as damsire_impact -- wins of the dam's sire's grandchildren against 1/field size, shrunk to 1; null without one [ratio]
from targets
left join sire_windows as sire on sire.sire_key = targets.sire_key and sire.race_date = targets.race_date
left join sire_going_windows as going on going.sire_key = targets.sire_key and going.going_group = targets.going_group and going.race_date = targets.race_date
left join sire_distance_windows as distance on distance.sire_key = targets.sire_key and distance.distance_band = targets.distance_band and distance.race_date = targets.race_date
left join dam_windows as dam on dam.dam_key = targets.dam_key and dam.race_date = targets.race_date
left join damsire_windows as damsire on damsire.damsire_key = targets.damsire_key and damsire.race_date = targets.race_date
