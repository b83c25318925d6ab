-- grain: one row per runner
-- point in time: results of strictly earlier race days; every frame ends the day before
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
        hash(coalesce(going_group, '')) as going_key,
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
        races.going_key,
        races.distance_band,
        -- Two counts in one number, so that a window sums once: wins from 2^44 (17592186044416) up, below them 1/field size
        -- held to 2^-24 (16777216 = 2^24). Sums are exact in any order, and hold as long as two years have under 2^19 races.
        case when results.won is not null then results.won * 17592186044416 + cast(round(16777216.0 / races.field_size) as bigint) end as outcome
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
),
-- Whose past is asked for where the window is a single day; all of what has no bearing on them is left out below.
day_runners as (
    select sire_key, dam_key, damsire_key, going_key, distance_band
    from runs
    where race_date = cast($start as date) and cast($start as date) = cast($end as date)
),
progeny as (
    select
        -- A single day's past is one day.
        greatest(race_date, case when cast($start as date) = cast($end as date) then cast($start as date) - 1 end) as race_date,
        sire_key,
        dam_key,
        damsire_key,
        going_key,
        distance_band,
        outcome
    from runs
    where cast($start as date) < cast($end as date)
        or sire_key in (select sire_key from day_runners)
        or dam_key in (select dam_key from day_runners)
        or damsire_key in (select damsire_key from day_runners)
),
-- Frames count whole days: with intervals every bound would be worked out as a timestamp.
going_days as (
    select sire_key, going_key, race_date, sum(outcome) as outcome
    from progeny
    where sire_key is not null
    group by sire_key, going_key, race_date
),
going_windows as (
    select sire_key, going_key, race_date, cast(coalesce(sum(outcome) over career, 0) as bigint) as outcome
    from going_days
    window career as (partition by sire_key, going_key order by race_date range between 730 preceding and 1 preceding)
),
distance_days as (
    select sire_key, distance_band, race_date, sum(outcome) as outcome
    from progeny
    where sire_key is not null
    group by sire_key, distance_band, race_date
),
distance_windows as (
    select sire_key, distance_band, race_date, cast(coalesce(sum(outcome) over career, 0) as bigint) as outcome
    from distance_days
    window career as (partition by sire_key, distance_band order by race_date range between 730 preceding and 1 preceding)
),
sire_days as (
    select sire_key, race_date, sum(outcome) as outcome
    from distance_days
    group by sire_key, race_date
),
sire_windows as (
    select sire_key, race_date, cast(coalesce(sum(outcome) over career, 0) as bigint) as outcome
    from sire_days
    window career as (partition by sire_key order by race_date range between 730 preceding and 1 preceding)
),
dam_days as (
    select dam_key, race_date, sum(outcome) as outcome
    from progeny
    where dam_key is not null
    group by dam_key, race_date
),
dam_windows as (
    select dam_key, race_date, cast(coalesce(sum(outcome) over career, 0) as bigint) as outcome
    from dam_days
    window career as (partition by dam_key order by race_date range between 730 preceding and 1 preceding)
),
damsire_days as (
    select damsire_key, race_date, sum(outcome) as outcome
    from progeny
    where damsire_key is not null
    group by damsire_key, race_date
),
damsire_windows as (
    select damsire_key, race_date, cast(coalesce(sum(outcome) over career, 0) as bigint) as outcome
    from damsire_days
    window career as (partition by damsire_key order by race_date range between 730 preceding and 1 preceding)
),
runners as (
    select
        runs.race_date,
        runs.race_key,
        runs.runner_key,
        sire.outcome >> 44 as sire_wins,
        (sire.outcome & 17592186044415) / 16777216 as sire_expected,
        going.outcome >> 44 as going_wins,
        (going.outcome & 17592186044415) / 16777216 as going_expected,
        distance.outcome >> 44 as distance_wins,
        (distance.outcome & 17592186044415) / 16777216 as distance_expected,
        dam.outcome >> 44 as dam_wins,
        (dam.outcome & 17592186044415) / 16777216 as dam_expected,
        damsire.outcome >> 44 as damsire_wins,
        (damsire.outcome & 17592186044415) / 16777216 as damsire_expected,
        -- 10 and 5 expected wins stand in until a year of results lies before; priors, not fits.
        coalesce(shrinkage.sire_strength, 10) as sire_strength,
        coalesce(shrinkage.horse_strength, 5) as horse_strength
    from runs
    left join going_windows as going on going.sire_key = runs.sire_key and going.going_key = runs.going_key and going.race_date = runs.race_date
    left join distance_windows as distance on distance.sire_key = runs.sire_key and distance.distance_band = runs.distance_band and distance.race_date = runs.race_date
    left join dam_windows as dam on dam.dam_key = runs.dam_key and dam.race_date = runs.race_date
    left join sire_windows as sire on sire.sire_key = runs.sire_key and sire.race_date = runs.race_date
    left join damsire_windows as damsire on damsire.damsire_key = runs.damsire_key and damsire.race_date = runs.race_date
    left join shrinkage on shrinkage.race_date = date_trunc('year', runs.race_date)
    where runs.race_date >= cast($start as date)
)
select
    race_date, -- day of the race [date]
    race_key, -- key of the race [key]
    runner_key, -- key of the runner [key]
    (sire_wins + sire_strength) / (sire_expected + sire_strength) as sire_impact, -- wins of the sire's progeny against 1/field size, shrunk to 1; null without a sire [ratio]
    (going_wins + sire_strength * (sire_wins + sire_strength) / (sire_expected + sire_strength)) / (going_expected + sire_strength) as sire_going_impact, -- the same on today's going, shrunk to the sire's own [ratio]
    (distance_wins + sire_strength * (sire_wins + sire_strength) / (sire_expected + sire_strength)) / (distance_expected + sire_strength) as sire_distance_impact, -- the same in today's distance band, shrunk to the sire's own [ratio]
    (dam_wins + horse_strength) / (dam_expected + horse_strength) as dam_impact, -- wins of the dam's progeny against 1/field size, shrunk to 1; null without a dam [ratio]
    (damsire_wins + sire_strength) / (damsire_expected + sire_strength) as damsire_impact -- wins of the dam's sire's grandchildren against 1/field size, shrunk to 1; null without one [ratio]
from runners
