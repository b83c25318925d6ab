-- grain: one row per runner
-- point in time: results and closing prices of strictly earlier race days, collapsed to one row per jockey and day before any window
-- look-back: 730 days ("career" means these two years, so that refreshing a year does not depend on how many years lie before)
-- beside the matrix: jockey_ability
-- description: The jockey's strike rates over 14, 30 and 90 days shrunk to the jockey's own career rate, wins against expectation, and places.
with window_jockeys as (
    select distinct jockey_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, jockey_key
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
-- Whose rates are asked for. A single day's past is five days: no other look-back has its first day between two of them.
window_entries as (
    select
        greatest(
            race_date,
            case
                when cast($start as date) < cast($end as date) then null
                when race_date < cast($start as date) - 365 then cast($start as date) - 366
                when race_date < cast($start as date) - 90 then cast($start as date) - 91
                when race_date < cast($start as date) - 30 then cast($start as date) - 31
                when race_date < cast($start as date) - 14 then cast($start as date) - 15
                else cast($start as date) - 1
            end
        ) as race_date,
        race_key,
        runner_key,
        jockey_key
    from entries
    where jockey_key in (select jockey_key from window_jockeys)
),
results as (
    select race_date, runner_key, won, position
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
prices as (
    select runner_key, round(1073741824.0 / decimal_odds / book_percent) / 1073741824 as market_probability
    from core.prices
    where price_kind = 'sp' and book_complete and race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
races as (
    select race_date, race_key, field_size
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
shrinkage as (
    select
        race_date,
        max(strength_runs) filter (where entity = 'jockey') as career_strength_runs,
        max(strength_runs) filter (where entity = 'jockey in a month') as month_strength_runs,
        max(strength_expected_wins) filter (where entity = 'jockey') as career_strength_wins
    from features.shrinkage
    group by race_date
),
jockey_days as (
    -- Several counts share one number, as digits do: one sum and one lookup then serve them all, exactly in any order.
    -- outings: runs x 2^42 (4398046511104) + wins x 2^21 (2097152) + places; expectations: priced wins x 2^44
    -- (17592186044416) + expected wins in units of 2^-24 (16777216 = 2^24). Two million runs fit.
    -- The other fractions are held to 2^-30 (1073741824 = 2^30), so that their sums and differences of sums are exact too.
    select
        window_entries.jockey_key,
        window_entries.race_date,
        cast(coalesce(sum(case when results.runner_key is not null then 4398046511104 + 2097152 * coalesce(results.won, 0) + case when results.position <= 3 then 1 else 0 end end), 0) as bigint) as outings,
        cast(coalesce(sum(case when results.runner_key is not null then case when prices.market_probability is not null then 17592186044416 * coalesce(results.won, 0) else 0 end + cast(round(16777216.0 / races.field_size) as bigint) end), 0) as bigint) as expectations,
        coalesce(sum(prices.market_probability) filter (where results.runner_key is not null), 0) as market_wins,
        coalesce(sum(case when results.position is not null and races.field_size > 1 then round(1073741824.0 * (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)) / 1073741824 when results.runner_key is not null then 0 end), 0) as rivals_beaten
    from window_entries
    inner join races on races.race_key = window_entries.race_key
    left join results on results.runner_key = window_entries.runner_key
    left join prices on prices.runner_key = window_entries.runner_key
    group by window_entries.jockey_key, window_entries.race_date
),
result_days as (
    select race_date, count(*) as runs, sum(won) as wins
    from results
    group by race_date
),
race_days as (
    select distinct race_date
    from races
),
all_days as (
    select race_days.race_date, result_days.runs, result_days.wins
    from race_days
    left join result_days on result_days.race_date = race_days.race_date
),
all_windows as (
    select
        race_date,
        sum(wins) over career / nullif(sum(runs) over career, 0) as strike_rate
    from all_days
    window career as (order by race_date range between 730 preceding and 1 preceding)
),
jockey_totals as (
    select
        jockey_key,
        race_date,
        cast(sum(outings) over to_date as bigint) as outings,
        cast(sum(expectations) over to_date as bigint) as expectations,
        sum(market_wins) over to_date as market_wins,
        sum(rivals_beaten) over to_date as rivals_beaten
    from jockey_days
    window to_date as (partition by jockey_key order by race_date rows between unbounded preceding and current row)
),
-- The difference of two running totals is a window: four totals and six lookups serve the five look-backs.
jockey_differences as (
    select
        days.jockey_key,
        days.race_date,
        coalesce(yesterday.outings, 0) - coalesce(before_14d.outings, 0) as outings_14d,
        coalesce(yesterday.outings, 0) - coalesce(before_30d.outings, 0) as outings_30d,
        coalesce(yesterday.outings, 0) - coalesce(before_90d.outings, 0) as outings_90d,
        coalesce(yesterday.rivals_beaten, 0) - coalesce(before_90d.rivals_beaten, 0) as rivals_beaten_90d,
        coalesce(yesterday.outings, 0) - coalesce(before_365d.outings, 0) as outings_365d,
        coalesce(yesterday.rivals_beaten, 0) - coalesce(before_365d.rivals_beaten, 0) as rivals_beaten_365d,
        coalesce(yesterday.outings, 0) - coalesce(before_730d.outings, 0) as outings,
        coalesce(yesterday.expectations, 0) - coalesce(before_730d.expectations, 0) as expectations,
        coalesce(yesterday.market_wins, 0) - coalesce(before_730d.market_wins, 0) as market_wins,
        coalesce(yesterday.rivals_beaten, 0) - coalesce(before_730d.rivals_beaten, 0) as rivals_beaten
    from jockey_days as days
    asof left join jockey_totals as yesterday
        on yesterday.jockey_key = days.jockey_key and yesterday.race_date < days.race_date
    asof left join jockey_totals as before_14d
        on before_14d.jockey_key = days.jockey_key and before_14d.race_date < days.race_date - 14
    asof left join jockey_totals as before_30d
        on before_30d.jockey_key = days.jockey_key and before_30d.race_date < days.race_date - 30
    asof left join jockey_totals as before_90d
        on before_90d.jockey_key = days.jockey_key and before_90d.race_date < days.race_date - 90
    asof left join jockey_totals as before_365d
        on before_365d.jockey_key = days.jockey_key and before_365d.race_date < days.race_date - 365
    asof left join jockey_totals as before_730d
        on before_730d.jockey_key = days.jockey_key and before_730d.race_date < days.race_date - 730
    where days.race_date >= cast($start as date)
),
jockey_windows as (
    select
        jockey_key,
        race_date,
        outings_14d >> 42 as runs_14d,
        (outings_14d >> 21) & 2097151 as wins_14d,
        outings_30d >> 42 as runs_30d,
        (outings_30d >> 21) & 2097151 as wins_30d,
        outings_90d >> 42 as runs_90d,
        (outings_90d >> 21) & 2097151 as wins_90d,
        rivals_beaten_90d,
        outings_365d >> 42 as runs_365d,
        rivals_beaten_365d,
        outings >> 42 as runs,
        (outings >> 21) & 2097151 as wins,
        outings & 2097151 as places,
        (expectations & 17592186044415) / 16777216 as expected_wins,
        expectations >> 44 as priced_wins,
        market_wins,
        rivals_beaten
    from jockey_differences
),
jockey_rates as (
    select
        jockey_windows.*,
        -- 30 runs, 300 runs and 5 expected wins stand in until a year of results lies before; they are priors, not fits.
        coalesce(shrinkage.month_strength_runs, 300) as month_strength_runs,
        coalesce(shrinkage.career_strength_wins, 5) as career_strength_wins,
        (jockey_windows.wins + coalesce(shrinkage.career_strength_runs, 30) * all_windows.strike_rate) / (jockey_windows.runs + coalesce(shrinkage.career_strength_runs, 30)) as career_rate
    from jockey_windows
    inner join all_windows on all_windows.race_date = jockey_windows.race_date
    left join shrinkage on shrinkage.race_date = date_trunc('year', jockey_windows.race_date)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    (rates.wins_14d + rates.month_strength_runs * rates.career_rate) / (rates.runs_14d + rates.month_strength_runs) as jockey_sr_14d, -- strike rate of the last 14 days, shrunk to the jockey's own career rate [wins per run]
    (rates.wins_30d + rates.month_strength_runs * rates.career_rate) / (rates.runs_30d + rates.month_strength_runs) as jockey_sr_30d, -- strike rate of the last 30 days, shrunk to the jockey's own career rate [wins per run]
    (rates.wins_90d + rates.month_strength_runs * rates.career_rate) / (rates.runs_90d + rates.month_strength_runs) as jockey_sr_90d, -- strike rate of the last 90 days, shrunk to the jockey's own career rate [wins per run]
    rates.career_rate as jockey_sr_career, -- strike rate of the last 730 days, shrunk to the mean of all jockeys [wins per run]
    cast(rates.runs_90d as integer) as jockey_runs_90d, -- runs in the last 90 days [runs]
    cast(rates.runs as integer) as jockey_runs_career, -- runs in the last 730 days [runs]
    case when rates.runs_14d > 0 then rates.wins_14d / rates.runs_14d - rates.career_rate end as jockey_form_14d, -- raw strike rate of the last 14 days less the career rate; null without a run [wins per run]
    (rates.wins + rates.career_strength_wins) / (rates.expected_wins + rates.career_strength_wins) as jockey_impact, -- wins of the last 730 days against 1/field size, shrunk to 1 [ratio]
    (rates.priced_wins + rates.career_strength_wins) / (rates.market_wins + rates.career_strength_wins) as jockey_ae, -- wins of the last 730 days against the closing market's expectation, shrunk to 1 [ratio]
    rates.places / nullif(rates.runs, 0) as jockey_place_rate, -- share of runs of the last 730 days in the first three [share]
    rates.rivals_beaten_90d / nullif(rates.runs_90d, 0) as jockey_rivals_beaten_90d, -- mean share of rivals beaten in the last 90 days [share]
    rates.rivals_beaten / nullif(rates.runs, 0) as jockey_rivals_beaten, -- mean share of rivals beaten in the last 730 days [share]
    (rates.rivals_beaten_365d + 50 * 0.5) / (rates.runs_365d + 50) as jockey_ability -- mean share of rivals beaten in the last 365 days, steadied by 50 runs at the half; by it intent_signals puts a horse's jockeys beside each other [share]
from entries
left join jockey_rates as rates on rates.jockey_key = entries.jockey_key and rates.race_date = entries.race_date
where entries.race_date >= cast($start as date)
