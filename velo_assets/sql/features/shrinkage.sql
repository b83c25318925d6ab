-- grain: one row per year and entity, dated the first day of the year
-- point in time: results of the two calendar years before the year; a cell is dated by its last race day, which must be earlier than the first day of the year
-- look-back: 2 calendar years
-- description: Strength of shrinkage by the method of moments (beta-binomial for strike rates, gamma-Poisson for wins against expectation), fitted only on data before the year.
with entries as (
    select race_date, race_key, runner_key, trainer_key, jockey_key, owner_key, horse_key, sire, stall
    from core.entries
    where race_date >= cast($start as date) - interval 2 year and race_date <= cast($end as date)
),
results as (
    select runner_key, won
    from core.results
    where race_date >= cast($start as date) - interval 2 year and race_date <= cast($end as date)
),
races as (
    select race_key, country, course, surface, code, distance_furlongs, field_size
    from core.races
    where race_date >= cast($start as date) - interval 2 year and race_date <= cast($end as date)
),
years as (
    select distinct cast(date_trunc('year', race_date) as date) as race_date
    from entries
    where date_trunc('year', race_date) between cast($start as date) and cast($end as date)
),
runs as (
    select
        entries.race_date,
        year(entries.race_date) as season,
        month(entries.race_date) as season_month,
        entries.trainer_key,
        entries.jockey_key,
        entries.owner_key,
        entries.horse_key,
        case when entries.sire <> '' then hash(entries.sire) end as sire_key,
        entries.stall,
        hash(races.country, races.course) as course_key,
        hash(races.country, races.course, races.surface, round(races.distance_furlongs)) as trip,
        races.code,
        races.field_size,
        results.won,
        1.0 / races.field_size as expected
    from entries
    inner join results on results.runner_key = entries.runner_key
    inner join races on races.race_key = entries.race_key
),
cells as (
    -- Entities are numbered here and named at the end: millions of cells are grouped by them, and text is slow to compare.
    select cast(1 as utinyint) as entity_number, cast(0 as ubigint) as parent_key, hash(trainer_key) as cell_key, season, max(race_date) as race_date, count(*) as runs, sum(won) as wins, sum(expected) as expected
    from runs
    where trainer_key is not null
    group by trainer_key, season
    union all
    select 2, 0, hash(jockey_key), season, max(race_date), count(*), sum(won), sum(expected)
    from runs
    where jockey_key is not null
    group by jockey_key, season
    union all
    select 3, hash(trainer_key), hash(season, season_month), season, max(race_date), count(*), sum(won), sum(expected)
    from runs
    where trainer_key is not null
    group by trainer_key, season, season_month
    union all
    select 4, hash(jockey_key), hash(season, season_month), season, max(race_date), count(*), sum(won), sum(expected)
    from runs
    where jockey_key is not null
    group by jockey_key, season, season_month
    union all
    select 5, hash(trainer_key), hash(jockey_key), season, max(race_date), count(*), sum(won), sum(expected)
    from runs
    where trainer_key is not null and jockey_key is not null
    group by trainer_key, jockey_key, season
    union all
    select 6, hash(trainer_key), hash(owner_key), season, max(race_date), count(*), sum(won), sum(expected)
    from runs
    where trainer_key is not null and owner_key is not null
    group by trainer_key, owner_key, season
    union all
    select 7, hash(trainer_key), course_key, season, max(race_date), count(*), sum(won), sum(expected)
    from runs
    where trainer_key is not null
    group by trainer_key, course_key, season
    union all
    select 8, 0, hash(horse_key), season, max(race_date), count(*), sum(won), sum(expected)
    from runs
    group by horse_key, season
    union all
    select 9, 0, sire_key, season, max(race_date), count(*), sum(won), sum(expected)
    from runs
    where sire_key is not null
    group by sire_key, season
    union all
    select 10, trip, hash(ntile_of_field), season, max(race_date), count(*), sum(won), sum(expected)
    from (
        select race_date, season, trip, won, expected, least(cast(floor(5.0 * (stall - 1) / field_size) as integer), 4) as ntile_of_field
        from runs
        where stall is not null and code in ('flat', 'all-weather') and field_size > 1
    )
    group by trip, ntile_of_field, season
),
cells_before_year as (
    select years.race_date, cells.entity_number, cells.parent_key, cells.cell_key, sum(cells.runs) as runs, sum(cells.wins) as wins, sum(cells.expected) as expected
    from cells
    inner join years on cells.race_date < years.race_date and cells.race_date >= years.race_date - interval 2 year
    group by years.race_date, cells.entity_number, cells.parent_key, cells.cell_key
),
parents as (
    select race_date, entity_number, parent_key, count(*) as cells, sum(runs) as runs, sum(wins) as wins, sum(expected) as expected, sum(runs * runs) as runs_squared, sum(expected * expected) as expected_squared
    from cells_before_year
    group by race_date, entity_number, parent_key
),
deviations as (
    select
        cells_before_year.race_date,
        cells_before_year.entity_number,
        cells_before_year.parent_key,
        sum(cells_before_year.runs * pow(cells_before_year.wins / cells_before_year.runs - parents.wins / parents.runs, 2)) / any_value(parents.wins / parents.runs * (1 - parents.wins / parents.runs)) as binomial_spread,
        sum(cells_before_year.expected * pow(cells_before_year.wins / cells_before_year.expected - parents.wins / parents.expected, 2)) / any_value(parents.wins / parents.expected) as poisson_spread
    from cells_before_year
    inner join parents
        on parents.race_date = cells_before_year.race_date and parents.entity_number = cells_before_year.entity_number and parents.parent_key = cells_before_year.parent_key
    -- A parent with hardly a win says nothing about the spread of its cells.
    where parents.wins >= 5 and parents.wins < parents.runs and parents.cells > 1
    group by cells_before_year.race_date, cells_before_year.entity_number, cells_before_year.parent_key
),
moments as (
    select
        deviations.race_date,
        deviations.entity_number,
        sum(parents.cells) as cells,
        sum(parents.runs) as runs,
        sum(parents.wins) / sum(parents.runs) as strike_rate,
        (sum(deviations.binomial_spread) - sum(parents.cells - 1)) / nullif(sum(parents.runs - parents.runs_squared / parents.runs) - sum(parents.cells - 1), 0) as correlation,
        (sum(deviations.poisson_spread) - sum(parents.cells - 1)) / nullif(sum(parents.expected - parents.expected_squared / parents.expected), 0) as relative_variance
    from deviations
    inner join parents
        on parents.race_date = deviations.race_date and parents.entity_number = deviations.entity_number and parents.parent_key = deviations.parent_key
    group by deviations.race_date, deviations.entity_number
)
select
    race_date, -- first day of the year the strengths are valid for [date]
    case entity_number
        when 1 then 'trainer'
        when 2 then 'jockey'
        when 3 then 'trainer in a month'
        when 4 then 'jockey in a month'
        when 5 then 'trainer with jockey'
        when 6 then 'trainer with owner'
        when 7 then 'trainer at course'
        when 8 then 'horse'
        when 9 then 'sire'
        when 10 then 'stall'
    end as entity, -- what is shrunk: trainer, jockey, trainer in a month (around the trainer's own rate), trainer with jockey, ... [text]
    cast(cells as bigint) as cells, -- cells the strengths were fitted on [cells]
    cast(runs as bigint) as runs, -- runs the strengths were fitted on [runs]
    strike_rate, -- mean strike rate of the fitting years [wins per run]
    case when correlation > 0 then least((1 - correlation) / correlation, 1e6) else 1e6 end as strength_runs, -- beta-binomial strength m of a strike rate; 1,000,000 stands for infinite (no spread beyond chance) [runs]
    case when relative_variance > 0 then least(1 / relative_variance, 1e6) else 1e6 end as strength_expected_wins -- gamma-Poisson strength m of wins against expectation; 1,000,000 stands for infinite [expected wins]
from moments
