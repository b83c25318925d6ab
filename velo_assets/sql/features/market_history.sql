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
    select runner_key, 1 / decimal_odds / book_percent as market_probability
    from core.prices
    where price_kind = 'sp' and book_complete and race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
closing_odds as (
    select runner_key, decimal_odds
    from core.prices
    where price_kind = 'sp' and race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
opening_odds as (
    select runner_key, decimal_odds
    from core.prices
    where price_kind = 'opening_show' and race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
moves as (
    select closing_odds.runner_key, ln(opening_odds.decimal_odds / closing_odds.decimal_odds) as steam
    from closing_odds
    inner join opening_odds on opening_odds.runner_key = closing_odds.runner_key
),
targets as (
    select race_date, race_key, runner_key, horse_key
    from entries
    where race_date >= cast($start as date)
),
runs as (
    select
        entries.horse_key,
        entries.race_date,
        -- Any fixed day serves: the weights 2^(t/h) are only ever used in ratios.
        case when closing_prices.market_probability is not null then pow(2, date_diff('day', date '2015-01-01', entries.race_date) / 45.0) end as weight_45d,
        case when closing_prices.market_probability is not null then pow(2, date_diff('day', date '2015-01-01', entries.race_date) / 240.0) end as weight_240d,
        closing_prices.market_probability,
        -- Against an even field, so that races of different size compare.
        ln(closing_prices.market_probability * races.field_size) as market_strength,
        case when closing_prices.market_probability is not null then results.won end as priced_won,
        case
            -- A walkover beats nobody and surprises nobody.
            when races.field_size < 2 then 0.5
            when results.position is null then 0
            else (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)
        end as rivals_beaten,
        moves.steam
    from entries
    inner join results on results.runner_key = entries.runner_key
    inner join races on races.race_key = entries.race_key
    left join closing_prices on closing_prices.runner_key = entries.runner_key
    left join moves on moves.runner_key = entries.runner_key
),
careers as (
    select
        targets.runner_key,
        targets.race_date,
        sum(runs.market_strength * runs.weight_45d) / sum(runs.weight_45d) as market_strength_ewma,
        sum(runs.market_strength * runs.weight_240d) / sum(runs.weight_240d) as market_strength_ewma_240d,
        arg_max(runs.market_strength, runs.race_date) as market_strength_last,
        max(runs.market_strength) as market_strength_best,
        sum((runs.rivals_beaten - 1 / (1 + exp(-runs.market_strength))) * runs.weight_240d) / sum(runs.weight_240d) as market_beaten_ewma,
        -- Three expected wins of a horse that runs to its price: a prior, not a fit.
        (sum(runs.priced_won) + 3) / (sum(runs.market_probability) + 3) as horse_ae,
        arg_max(runs.steam, runs.race_date) as steam_last
    from targets
    inner join runs
        on runs.horse_key = targets.horse_key and runs.race_date < targets.race_date and runs.race_date >= targets.race_date - 730
    group by targets.runner_key, targets.race_date
)
select
    targets.race_date, -- day of the race [date]
    targets.race_key, -- key of the race [key]
    targets.runner_key, -- key of the runner [key]
    careers.market_strength_ewma, -- time-weighted mean of the log of the closing probability times field size in past races, half-life 45 days; null without a priced run [log ratio]
    careers.market_strength_ewma_240d, -- the same, half-life 240 days [log ratio]
    careers.market_strength_last, -- log of the closing probability times field size in the last priced run [log ratio]
    careers.market_strength_best, -- highest in 730 days [log ratio]
    careers.market_beaten_ewma, -- time-weighted mean share of rivals beaten less what the price let expect, half-life 240 days [share]
    careers.horse_ae, -- the horse's wins against the closing market's expectation in 730 days, shrunk to 1; null without a priced run [ratio]
    careers.steam_last -- log of opening show over starting price in the last run with both; positive = backed [log ratio]
from targets
left join careers on careers.runner_key = targets.runner_key and careers.race_date = targets.race_date
