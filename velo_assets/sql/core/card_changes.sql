-- grain: one row per difference between the last racecard of a race and its result
-- point in time: known after the race
-- look-back: none
-- description: What changed between card and result: non-runners, added runners, jockeys, weights, stalls, the going.
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

latest_result as (
    select race_key, max(sequence) as sequence
    from landed
    where race_date in (select race_date from cards)
    group by race_key
),

latest_card as (
    select race_key, max(sequence) as sequence
    from cards
    where race_key in (select race_key from latest_result)
    group by race_key
),

ran as (
    select landed.*
    from landed
    inner join latest_result using (race_key, sequence)
    where landed.race_key in (select race_key from latest_card)
),

carded as (
    -- A card without pedigree says no more than the name, which is enough within a race.
    select
        cards.*,
        coalesce(
            ran.runner_key,
            runner_key_of(cards.race_key, horse_key_of(cards.horse, cards.dam, cards.age_years, cards.race_date))
        ) as runner_key
    from cards
    inner join latest_card using (race_key, sequence)
    left join ran
        on cards.dam is null
        and ran.race_key = cards.race_key
        and bare_name_key(ran.horse) = bare_name_key(cards.horse)
),

runners as (
    select
        coalesce(carded.race_date, ran.race_date) as race_date,
        coalesce(carded.race_key, ran.race_key) as race_key,
        coalesce(carded.runner_key, ran.runner_key) as runner_key,
        carded.runner_key is not null and not coalesce(carded.non_runner, false) as on_card,
        ran.runner_key is not null as in_result,
        coalesce(carded.horse, ran.horse) as horse,
        carded.jockey as card_jockey,
        text_or_null(ran.jockey) as result_jockey,
        carded.weight_lb - coalesce(carded.jockey_allowance_lb, 0) as card_weight_lb,
        coalesce(weight_lb_of(ran.wgt), weight_lb_of(ran.lbs)) as result_weight_lb,
        carded.stall as card_stall,
        whole_number(ran.draw) as result_stall
    from carded
    full outer join ran on carded.runner_key = ran.runner_key
),

goings as (
    select
        carded.race_date,
        carded.race_key,
        min(text_or_null(carded.going)) as card_going,
        min(text_or_null(ran.going)) as result_going
    from carded
    inner join ran on carded.race_key = ran.race_key
    group by carded.race_date, carded.race_key
),

changes as (
    select race_date, race_key, runner_key, 'non-runner' as change, horse as card_value, null as result_value
    from runners
    where on_card and not in_result
    union all
    select race_date, race_key, runner_key, 'added runner' as change, null as card_value, horse as result_value
    from runners
    where in_result and not on_card
    union all
    select race_date, race_key, runner_key, 'jockey' as change, card_jockey as card_value, result_jockey as result_value
    from runners
    where on_card and in_result and label_key(card_jockey) is distinct from label_key(result_jockey)
    union all
    select
        race_date, race_key, runner_key, 'weight' as change,
        card_weight_lb::varchar as card_value, result_weight_lb::varchar as result_value
    from runners
    where on_card and in_result and card_weight_lb is distinct from result_weight_lb
    union all
    select
        race_date, race_key, runner_key, 'stall' as change,
        card_stall::varchar as card_value, result_stall::varchar as result_value
    from runners
    where on_card and in_result and card_stall <> result_stall
    union all
    select race_date, race_key, null as runner_key, 'going' as change, card_going as card_value, result_going as result_value
    from goings
    where lower(card_going) is distinct from lower(result_going)
)

select
    race_date, -- local date of the race
    race_key, -- key of the race
    runner_key::bigint as runner_key, -- key of the runner, null for a change of the race
    change, -- non-runner, added runner, jockey, weight, stall or going
    card_value, -- what the card said
    result_value -- what the result says
from changes
