-- grain: one row per runner
-- point in time: prices and results of the horse's strictly earlier race days; never a price of the race itself
-- look-back: 730 days, horses that run in the window only
-- description: How the market rated the horse in its past races (complete books only), how it ran against that, and its past steam and drift.
with window_horses as (
    select distinct horse_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, horse_key
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
        and horse_key in (select horse_key from window_horses)
),
results as (
    select runner_key, won, position
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
races as (
    select race_key, field_size
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
closing_prices as (
    select runner_key, decimal_odds, case when book_complete then 1 / decimal_odds / book_percent end as market_probability
    from core.prices
    where price_kind = 'sp' and race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
opening_odds as (
    select runner_key, decimal_odds
    from core.prices
    where price_kind = 'opening_show' and race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
horse_days as (
    select
        entries.horse_key,
        entries.race_date,
        pow(2, max(date_diff('day', date '2015-01-01', entries.race_date)) / 45.0) as weight_45d,
        pow(2, max(date_diff('day', date '2015-01-01', entries.race_date)) / 240.0) as weight_240d,
        -- Against an even field, so that races of different size compare.
        avg(case when results.runner_key is not null then ln(closing_prices.market_probability * races.field_size) end) as market_strength,
        avg(case
            when closing_prices.market_probability is null or results.runner_key is null then null
            -- A walkover beats nobody and surprises nobody.
            when races.field_size < 2 then 0.5
            when results.position is null then 0
            else (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)
        end) as rivals_beaten,
        sum(case when closing_prices.market_probability is not null then results.won end) as wins,
        sum(case when results.runner_key is not null then closing_prices.market_probability end) as market_wins,
        avg(case when results.runner_key is not null then ln(opening_odds.decimal_odds / closing_prices.decimal_odds) end) as steam
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
    left join closing_prices on closing_prices.runner_key = entries.runner_key
    left join opening_odds on opening_odds.runner_key = entries.runner_key
    group by entries.horse_key, entries.race_date
),
horse_frames as (
    select
        *,
        case when market_strength is not null then weight_45d end as priced_weight_45d,
        case when market_strength is not null then weight_240d end as priced_weight_240d,
        (rivals_beaten - 1 / (1 + exp(-market_strength))) * weight_240d as weighted_surprise,
        -- Rows of the look-back, counted once: a frame of so many rows is cheaper than searching the dates anew for every value.
        count(*) over days_730 as rows_730d
    from horse_days
    window days_730 as (partition by horse_key order by race_date range between 730 preceding and 1 preceding)
),
horse_windows as (
    select
        horse_key,
        race_date,
        sum(market_strength * weight_45d) over career / nullif(sum(priced_weight_45d) over career, 0) as market_strength_ewma,
        sum(market_strength * weight_240d) over career / nullif(sum(priced_weight_240d) over career, 0) as market_strength_ewma_240d,
        last_value(market_strength ignore nulls) over career as market_strength_last,
        max(market_strength) over career as market_strength_best,
        sum(weighted_surprise) over career / nullif(sum(priced_weight_240d) over career, 0) as market_beaten_ewma,
        -- Three expected wins of a horse that runs to its price: a prior, not a fit.
        (sum(wins) over career + 3) / (sum(market_wins) over career + 3) as horse_ae,
        last_value(steam ignore nulls) over career as steam_last
    from horse_frames
    window career as (partition by horse_key order by race_date rows between rows_730d preceding and 1 preceding)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    windows.market_strength_ewma, -- time-weighted mean of the log of the closing probability times field size in past races, half-life 45 days; null without a priced run [log ratio]
    windows.market_strength_ewma_240d, -- the same, half-life 240 days [log ratio]
    windows.market_strength_last, -- log of the closing probability times field size last time [log ratio]
    windows.market_strength_best, -- highest in 730 days [log ratio]
    windows.market_beaten_ewma, -- time-weighted mean share of rivals beaten less what the price let expect, half-life 240 days [share]
    windows.horse_ae, -- the horse's wins against the closing market's expectation in 730 days, shrunk to 1; null without a priced run [ratio]
    windows.steam_last -- log of opening show over starting price last time; positive = backed; null without both [log ratio]
from entries
left join horse_windows as windows on windows.horse_key = entries.horse_key and windows.race_date = entries.race_date
where entries.race_date >= cast($start as date)
