-- grain: one row per race
-- point in time: known before the off; field size counts those who ran, or the card's declared runners without non-runners
-- look-back: none
-- description: Races with their conditions, from the results that landed last, and from racecards where no result has landed.
with landed as (
    select *
    from landing.raceform
    where race_year between year($start::date) and year($end::date) and race_date between $start and $end
),

cards as (
    select
        *,
        race_key_of(race_date, course, region, off_text, race_id, race_name) as race_key
    from landing.racecards
    where race_date between $start and $end
),

sidecar as (
    -- Sidecars landed with a 0 before it was rejected.
    select race_id, name_key(horse) as horse_text, case when distance_m > 0 then distance_m end as distance_m, rail
    from landing.sectionals
    where race_id in (select race_id from landed) or race_id in (select race_id from cards)
    qualify row_number() over (partition by race_id, horse_text order by sequence desc, line_number desc) = 1
),

latest_result as (
    select race_key, max(sequence) as sequence
    from landed
    group by race_key
),

latest_card as (
    select race_key, max(sequence) as sequence
    from cards
    where race_key not in (select race_key from latest_result)
    group by race_key
),

from_results as (
    select
        landed.race_key,
        min(landed.race_date) as race_date,
        min(landed.course) as course_text,
        min(landed.region) as region,
        min(text_or_null(landed."off")) as off_text,
        min(text_or_null(landed.race_id)) as race_id,
        min(text_or_null(landed.race_name)) as race_name,
        min(landed.type) as type_text,
        min(race_class_of(text_or_null(landed."class"))) as race_class,
        min(text_or_null(landed.pattern)) as pattern,
        min(text_or_null(landed.rating_band)) as rating_band,
        min(text_or_null(landed.age_band)) as age_band,
        min(text_or_null(landed.sex_rest)) as sex_restriction,
        min(text_or_null(landed.dist)) as distance_text,
        coalesce(
            min(sidecar.distance_m),
            min(measured_distance(landed.dist_m)),
            min(measured_distance(landed.dist_y)) * 0.9144
        ) as measured_m,
        min(text_or_null(landed.going)) as going,
        min(text_or_null(landed.surface)) as surface_text,
        bool_or(is_handicap_name(landed.race_name)) as is_handicap,
        max(whole_number(landed.ran)) as declared_runners,
        count(*) as field_size,
        min(sidecar.rail) as rail,
        'result' as stage,
        min(landed.source_file) as source_file
    from landed
    inner join latest_result using (race_key, sequence)
    left join sidecar on landed.race_id = sidecar.race_id and name_key(landed.horse) = sidecar.horse_text
    group by landed.race_key
),

from_cards as (
    select
        cards.race_key,
        min(cards.race_date) as race_date,
        min(cards.course) as course_text,
        min(cards.region) as region,
        min(cards.off_text) as off_text,
        min(cards.race_id) as race_id,
        min(cards.race_name) as race_name,
        min(cards.race_type) as type_text,
        min(cards.race_class) as race_class,
        min(text_or_null(cards.pattern)) as pattern,
        min(text_or_null(cards.rating_band)) as rating_band,
        min(text_or_null(cards.age_band)) as age_band,
        min(text_or_null(cards.sex_restriction)) as sex_restriction,
        min(cards.distance_text) as distance_text,
        coalesce(min(sidecar.distance_m), min(cards.distance_yards) * 0.9144) as measured_m,
        min(text_or_null(cards.going)) as going,
        min(text_or_null(cards.surface)) as surface_text,
        bool_or(cards.is_handicap or is_handicap_name(cards.race_name)) as is_handicap,
        max(cards.declared_runners) as declared_runners,
        count(*) filter (where not coalesce(cards.non_runner, false)) as field_size,
        min(sidecar.rail) as rail,
        'card' as stage,
        min(cards.source_file) as source_file
    from cards
    inner join latest_card using (race_key, sequence)
    left join sidecar on cards.race_id = sidecar.race_id and name_key(cards.horse) = sidecar.horse_text
    group by cards.race_key
),

gathered as (
    select * from from_results
    union all by name
    select * from from_cards
),

placed as (
    select
        *,
        course_name(course_text) as course,
        course_country(course_text, region) as country,
        race_type_of(type_text, race_name) as race_type,
        case
            when course_is_all_weather(course_text) or going_is_dirt(going)
                or lower(surface_text) in ('aw', 'dirt', 'all weather', 'all-weather', 'polytrack', 'tapeta')
                then 'all-weather'
            else 'turf'
        end as surface,
        distance_furlongs_of(distance_text) as text_furlongs
    from gathered
)

select
    race_key, -- key of date, course and off time
    race_date, -- local date of the race
    race_date || ' ' || course
        || case when country = 'GB' then '' else ' (' || country || ')' end
        || ' ' || coalesce(off_key_text(off_text, race_date, country), '') as race_label, -- readable name of the race
    course, -- course without country and surface
    country, -- country of the course, which is the jurisdiction of its prices
    surface, -- turf or all-weather (artificial and dirt)
    off_time_of(off_text, race_date, country) as off_time, -- off time where the 12-hour clock leaves no doubt [local time]
    off_text, -- off time as it came
    race_id, -- id of the export, reused by it: a reference, never a key
    race_name, -- name of the race
    race_type, -- Flat, Hurdle, Chase or NH Flat
    race_code_of(race_type, surface) as code, -- flat, all-weather, hurdle, chase or bumper
    race_class::integer as race_class, -- class 1 (best) to 7, Britain (and Hong Kong 1 to 5) only
    pattern, -- Group, Grade or Listed
    band_low(rating_band) as rating_band_low, -- lowest rating allowed [rating]
    band_high(rating_band) as rating_band_high, -- highest rating allowed [rating]
    age_band, -- ages allowed, as it came
    age_low(age_band) as min_age_years, -- youngest age allowed [years]
    age_high(age_band) as max_age_years, -- oldest age allowed, null when open [years]
    sex_restriction, -- sexes allowed, null when all
    distance_text, -- distance as it came
    coalesce(text_furlongs, metres_to_furlongs(measured_m)) as distance_furlongs, -- distance, as the text implies [furlongs]
    coalesce(measured_m, furlongs_to_metres(text_furlongs))::double as distance_m, -- distance, measured where a source measured it [metres]
    going, -- going as it came
    going_group_of(going, surface) as going_group, -- firm, good, soft, heavy, aw-standard, aw-slow or aw-fast
    going_index_of(going, surface) as going_index, -- -2 firm over 0 good to 3 heavy
    coalesce(is_handicap, false) as is_handicap, -- the name says handicap or nursery
    declared_runners::integer as declared_runners, -- runners as the source states them [runners]
    field_size::integer as field_size, -- rows of the race [runners]
    rail, -- rail position, sidecar only
    stage, -- result, or card while no result has landed
    source_file -- file the race came from
from placed
