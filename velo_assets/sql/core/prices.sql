-- grain: one row per runner and price kind
-- point in time: see known_at; starting and exchange prices are known at the off and may not choose a bet before it
-- look-back: none
-- description: Prices of every kind in decimal odds, with the book of the race they belong to and the jurisdiction they come from.
with landed as (
    select *
    from landing.raceform
    where race_year between year($start::date) and year($end::date) and race_date between $start and $end
),

entries as (
    select runner_key, race_key, race_date, horse
    from core.entries
    where race_date between $start and $end
),

races as (
    select race_key, race_date, course, country, field_size
    from core.races
    where race_date between $start and $end
),

betfair_sp as (
    select race_date, course, horse_name, rated_price, bsp, bsp_status, market_id, selection_id, source_file
    from landing.betfair_sp
    where race_date between $start and $end
    qualify row_number() over (partition by market_id, selection_id order by date_corrected, sequence desc) = 1
        and not removed and not multi_winner
),

streams as (
    select race_date, venue, horse_name, last_traded, market_id, selection_id, source_file
    from landing.streams
    where race_date between $start and $end and minutes_before = 5 and coalesce(market_type, 'WIN') = 'WIN'
    qualify row_number() over (partition by market_id, selection_id order by sequence desc) = 1
        and runner_status <> 'REMOVED'
),

latest_result as (
    select race_key, max(sequence) as sequence
    from landed
    group by race_key
),

results as (
    select landed.*, regexp_extract(comment, '\([^()]*\)\s*$') as bracket
    from landed
    inner join latest_result using (race_key, sequence)
),

starting_prices as (
    select
        runner_key, race_key, race_date,
        'sp' as price_kind,
        coalesce(sp_odds(sp), decimal_odds_of("dec")) as decimal_odds,
        sp_favourite_mark(sp) as favourite_mark,
        coalesce(dash_or_null(sp), dash_or_null("dec")) as price_text,
        'off' as known_at,
        source_file as source
    from results
    where coalesce(dash_or_null(sp), dash_or_null("dec")) is not null
),

shows as (
    select
        runner_key, race_key, race_date, bracket, source_file,
        comment_opening_show(comment) as opening_show,
        comment_touched(comment) as touched
    from results
    where bracket <> ''
),

opening_shows as (
    select
        runner_key, race_key, race_date,
        'opening_show' as price_kind,
        opening_show as decimal_odds,
        null as favourite_mark,
        bracket as price_text,
        'off' as known_at,
        source_file as source
    from shows
    where opening_show is not null
),

touched_prices as (
    -- Of several prices touched, the one farthest from the opening show (in log odds): the strongest move that was seen.
    select
        runner_key, race_key, race_date,
        'touched' as price_kind,
        list_reduce(
            touched,
            lambda kept, price: case
                when abs(ln(price / coalesce(opening_show, kept))) > abs(ln(kept / coalesce(opening_show, kept))) then price
                else kept
            end
        ) as decimal_odds,
        null as favourite_mark,
        bracket as price_text,
        'off' as known_at,
        source_file as source
    from shows
    where len(touched) > 0
),

named as (
    select
        entries.runner_key, entries.race_key, entries.race_date,
        exchange_course(races.course) as course_key_text,
        exchange_name(entries.horse) as horse_name_key
    from entries
    inner join races using (race_key)
    where races.country in ('GB', 'IRE')
        and (races.race_date in (select race_date from betfair_sp) or races.race_date in (select race_date from streams))
),

betfair_matched as (
    select
        named.runner_key, named.race_key, named.race_date,
        betfair_sp.bsp, betfair_sp.bsp_status, betfair_sp.rated_price, betfair_sp.source_file
    from named
    inner join betfair_sp
        on named.race_date = betfair_sp.race_date
        and named.course_key_text = exchange_course(betfair_sp.course)
        and named.horse_name_key = exchange_name(betfair_sp.horse_name)
    qualify row_number() over (partition by named.runner_key order by betfair_sp.market_id) = 1
),

betfair_prices as (
    select
        runner_key, race_key, race_date,
        'bsp' as price_kind,
        bsp as decimal_odds,
        null as favourite_mark,
        null as price_text,
        'off' as known_at,
        source_file as source
    from betfair_matched
    where bsp_status = 'ok' and bsp > 1
),

forecasts as (
    select
        runner_key, race_key, race_date,
        'forecast' as price_kind,
        rated_price as decimal_odds,
        null as favourite_mark,
        null as price_text,
        'morning' as known_at,
        source_file as source
    from betfair_matched
    where rated_price > 1
),

exchange_prices as (
    select
        named.runner_key, named.race_key, named.race_date,
        'exchange_preoff' as price_kind,
        streams.last_traded as decimal_odds,
        null as favourite_mark,
        null as price_text,
        'off' as known_at,
        streams.source_file as source
    from named
    inner join streams
        on named.race_date = streams.race_date
        and named.course_key_text = exchange_course(streams.venue)
        and named.horse_name_key = exchange_name(streams.horse_name)
    qualify row_number() over (partition by named.runner_key order by streams.market_id) = 1
),

gathered as (
    select * from starting_prices
    union all by name
    select * from opening_shows
    union all by name
    select * from touched_prices
    union all by name
    select * from betfair_prices
    union all by name
    select * from forecasts
    union all by name
    select * from exchange_prices where decimal_odds > 1
),

books as (
    select
        race_key, price_kind,
        -- Held to 2^-40 (1099511627776 = 2^40): the sum is then exact in any order.
        sum(round(1099511627776.0 / decimal_odds)) / 1099511627776 as book_percent,
        count(decimal_odds) as priced_runners
    from gathered
    group by race_key, price_kind
)

select
    gathered.runner_key, -- key of race and horse
    gathered.race_key, -- key of the race
    gathered.race_date, -- local date of the race
    gathered.price_kind, -- opening_show, touched, sp, bsp, forecast or exchange_preoff
    gathered.decimal_odds::double as decimal_odds, -- payout per unit staked, stake included; null when the text is no price
    gathered.favourite_mark, -- F favourite, J joint, C co-favourite
    gathered.price_text, -- price as it came
    gathered.known_at, -- morning or off
    books.book_percent, -- sum of 1/odds over the race and kind, 1 = a fair book [fraction]
    books.priced_runners = races.field_size and books.book_percent >= 0.9 as book_complete, -- every runner priced; only such books are normalised
    races.country as jurisdiction, -- country that made the price; abroad it is often a tote dividend
    gathered.source -- file the price came from
from gathered
inner join books using (race_key, price_kind)
inner join races on gathered.race_key = races.race_key
