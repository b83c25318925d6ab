-- grain: one row per runner
-- point in time: known before the off
-- look-back: none; for cards without pedigree all results of earlier days that have landed
-- description: Runners as declared: who rides, trains and owns them, weight, stall, headgear, ratings known before the race.
with landed as (
    select *
    from landing.raceform
    where race_year between year($start::date) and year($end::date) and race_date between $start and $end
),

cards as (
    select
        *,
        race_key_of(race_date, course, region, off_text, race_id, race_name) as race_key,
        horse_key_of(horse, dam, age_years, race_date) as written_key
    from landing.racecards
    where race_date between $start and $end
),

-- A card without pedigree names a horse by its bare name and age: it is the one horse of that name and foaling year that
-- has run before, and nobody's history where two have.
bare_names as (
    select distinct bare_name_key(horse) as bare_name
    from cards
    where dam is null and age_years is not null
),

namesakes as (
    select
        horse_key,
        bare_name_key(horse) as bare_name,
        year(race_date) - whole_number(age) as foaling_year,
        min(race_date) as first_date,
        max(trim(horse)) as horse,
        max(sire) as sire,
        max(dam) as dam,
        max(damsire) as damsire
    from landing.raceform
    where bare_name_key(horse) in (select bare_name from bare_names)
    group by horse_key, bare_name, foaling_year
),

recognised as (
    select
        cards.race_key,
        cards.horse as card_horse,
        max(namesakes.horse_key) as horse_key,
        max(namesakes.horse) as horse,
        max(namesakes.sire) as sire,
        max(namesakes.dam) as dam,
        max(namesakes.damsire) as damsire
    from cards
    inner join namesakes
        on bare_name_key(cards.horse) = namesakes.bare_name
        and year(cards.race_date) - cards.age_years = namesakes.foaling_year
        and namesakes.first_date < cards.race_date
        and name_key(cards.horse) in (namesakes.bare_name, name_key(namesakes.horse))
    where cards.dam is null
    group by cards.race_key, cards.horse
    having count(distinct namesakes.horse_key) = 1
),

sidecar as (
    select race_id, name_key(horse) as horse_text, declared_weight_lb
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
    group by race_key
),

carded as (
    select
        cards.*,
        coalesce(recognised.horse_key, cards.written_key) as horse_key,
        runner_key_of(cards.race_key, coalesce(recognised.horse_key, cards.written_key)) as runner_key,
        coalesce(recognised.horse, cards.horse) as known_horse,
        coalesce(recognised.sire, cards.sire) as known_sire,
        coalesce(recognised.dam, cards.dam) as known_dam,
        coalesce(recognised.damsire, cards.damsire) as known_damsire
    from cards
    inner join latest_card using (race_key, sequence)
    left join recognised
        on cards.dam is null and cards.race_key = recognised.race_key and cards.horse = recognised.card_horse
    qualify row_number() over (partition by runner_key order by coalesce(cards.non_runner, false), cards.saddle_number) = 1
),

from_results as (
    select
        landed.runner_key,
        landed.race_key,
        landed.race_date,
        landed.horse_key,
        trim(landed.horse) as horse,
        saddle_number_of(landed.num) as saddle_number,
        case
            when race_type_of(landed.type, landed.race_name) = 'Flat' then nullif(whole_number(landed.draw), 0)
        end as stall,
        whole_number(landed.age) as age_years,
        upper(text_or_null(landed.sex)) as sex,
        coalesce(weight_lb_of(landed.wgt), weight_lb_of(landed.lbs)) as weight_lb,
        -- A source that also leaves sire and owner blank does not report headgear: blank is unknown there, not none.
        case
            when coalesce(text_or_null(landed.hg), text_or_null(landed.sire), text_or_null(landed.owner)) is not null
                then coalesce(landed.hg, '')
        end as headgear_text,
        text_or_null(landed.jockey) as jockey,
        text_or_null(landed.trainer) as trainer,
        text_or_null(landed.owner) as owner,
        rating_of(landed."or") as official_rating,
        landed.sire,
        landed.dam,
        landed.damsire,
        sidecar.declared_weight_lb as body_weight_lb,
        carded.card_rating,
        carded.card_speed_rating,
        'result' as stage,
        landed.source_file
    from landed
    inner join latest_result using (race_key, sequence)
    left join sidecar on landed.race_id = sidecar.race_id and name_key(landed.horse) = sidecar.horse_text
    left join carded on landed.runner_key = carded.runner_key
),

from_cards as (
    select
        cards.race_key,
        cards.race_date,
        cards.horse_key,
        cards.runner_key,
        cards.known_horse as horse,
        cards.saddle_number,
        case when cards.race_type = 'Flat' then nullif(cards.stall, 0) end as stall,
        cards.age_years,
        cards.sex,
        -- A card gives the weight of the horse's mark and the rider's allowance; what is carried, as results give it, is less.
        cards.weight_lb - coalesce(cards.jockey_allowance_lb, 0) as weight_lb,
        case
            when coalesce(cards.headgear, cards.sire, cards.owner) is not null
                then coalesce(cards.headgear, '') || case when cards.headgear_first_time then '1' else '' end
        end as headgear_text,
        cards.jockey,
        cards.trainer,
        cards.owner,
        cards.official_rating,
        cards.known_sire as sire,
        cards.known_dam as dam,
        cards.known_damsire as damsire,
        sidecar.declared_weight_lb as body_weight_lb,
        cards.card_rating,
        cards.card_speed_rating,
        'card' as stage,
        cards.source_file
    from carded as cards
    left join sidecar on cards.race_id = sidecar.race_id and name_key(cards.horse) = sidecar.horse_text
    where not coalesce(cards.non_runner, false) and cards.race_key not in (select race_key from latest_result)
),

-- Parents are found again by their names, and GB is written in three ways: `(GB)`, ` GB` and, on cards, not at all.
gathered as (
    select * from from_results
    union all by name
    select * from from_cards
)

select
    runner_key, -- key of race and horse
    race_key, -- key of the race
    race_date, -- local date of the race
    horse_key, -- key of name, suffix, and dam or foaling year
    horse, -- name with country suffix
    saddle_number::integer as saddle_number, -- number on the card; coupled runners share one
    stall::integer as stall, -- starting stall, flat races only [stall]
    age_years::integer as age_years, -- age as the source states it [years]
    sex, -- C F G H M R; other letters kept as they came
    weight_lb::integer as weight_lb, -- weight carried [lb]
    headgear_codes(headgear_text) as headgear, -- codes b e h p t v sorted, empty for none, null when the source does not say
    headgear_first_time_of(headgear_text) as headgear_first_time, -- wears some headgear for the first time
    jockey, -- jockey as written
    label_key(jockey) as jockey_key, -- key of the jockey's label
    trainer, -- trainer as written
    label_key(trainer) as trainer_key, -- key of the trainer's label
    owner, -- owner as written
    label_key(owner) as owner_key, -- key of the owner's label
    official_rating::integer as official_rating, -- handicap mark before the race [rating]
    text_or_null(name_without_gb(trim(sire))) as sire, -- sire with country suffix, none for GB
    text_or_null(name_without_gb(trim(dam))) as dam, -- dam with country suffix, none for GB
    text_or_null(name_without_gb(trim(damsire))) as damsire, -- sire of the dam as written, without GB
    body_weight_lb::integer as body_weight_lb, -- weight of the horse itself, sidecar only [lb]
    card_rating::integer as card_rating, -- racecard's adjusted master rating, published before the race [rating]
    card_speed_rating::integer as card_speed_rating, -- racecard's adjusted speed rating, published before the race [rating]
    stage, -- result, or card while no result has landed
    source_file -- file the entry came from
from gathered
