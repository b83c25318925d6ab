-- grain: one row per runner
-- point in time: the declarations of the race itself
-- look-back: none
-- written: in spans of years; their joins fit the processor's cache, those of all years do not
-- description: The shape of the race: field size, spread of ratings and weights, conditions, and where the horse stands in age and sex.
with entries as (
    select race_date, race_key, runner_key, age_years, sex, weight_lb, official_rating
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
races as (
    select race_key, field_size, is_handicap, race_class, pattern, rating_band_high, min_age_years, max_age_years, sex_restriction, distance_furlongs, going_index
    from core.races
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
fields as (
    select
        race_key,
        stddev_samp(official_rating) as rating_spread,
        max(weight_lb) - min(weight_lb) as weight_range_lb,
        avg(age_years) as mean_age_years
    from entries
    group by race_key
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    races.field_size, -- runners declared [runners]
    cast(races.is_handicap as integer) as is_handicap, -- handicap race [0/1]
    races.race_class, -- class number, 1 is best; null where races carry none [class]
    cast(coalesce(races.pattern, '') <> '' as integer) as is_pattern, -- pattern or listed race [0/1]
    races.rating_band_high, -- top of the rating band; null where there is none [points]
    fields.rating_spread, -- standard deviation of the official ratings [points]
    fields.weight_range_lb, -- top weight less bottom weight [lb]
    cast(races.max_age_years is not null and races.max_age_years = races.min_age_years as integer) as is_single_age, -- race for one age only [0/1]
    cast(coalesce(races.sex_restriction, '') <> '' as integer) as is_sex_restricted, -- race for one sex only [0/1]
    entries.age_years - fields.mean_age_years as age_vs_field, -- age less the mean of the field [years]
    case when entries.sex is not null and entries.sex <> '' then cast(entries.sex in ('F', 'M') as integer) end as is_female, -- filly or mare [0/1]
    case when entries.sex is not null and entries.sex <> '' then cast(entries.sex = 'G' as integer) end as is_gelding, -- gelding [0/1]
    races.distance_furlongs, -- distance [furlongs]
    races.going_index -- going from -2 firm to +3 heavy [index]
from entries
inner join races on races.race_key = entries.race_key
left join fields on fields.race_key = entries.race_key
