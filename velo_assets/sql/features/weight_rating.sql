-- grain: one row per runner
-- point in time: entries and races of this race and of the horse's strictly earlier race days; only days with a result count as runs
-- look-back: 730 days, horses that run in the window only
-- description: Weight carried against the field, the jockey's claim, official rating against the field, body weight and its moves.
with window_horses as (
    select distinct horse_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, horse_key, age_years, weight_lb, official_rating, body_weight_lb, card_rating, card_speed_rating
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
        and horse_key in (select horse_key from window_horses)
),
results as (
    select runner_key, won
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
races as (
    select race_key, is_handicap
    from core.races
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
fields as (
    select
        race_key,
        avg(weight_lb) as mean_weight_lb,
        avg(official_rating) as mean_rating,
        max(weight_lb - official_rating) as pounds_less_rating
    from entries
    where race_date >= cast($start as date)
    group by race_key
),
horse_days as (
    select
        entries.horse_key,
        entries.race_date,
        max(case when results.runner_key is not null then entries.body_weight_lb end) as body_weight_lb,
        max(case when results.runner_key is not null then entries.official_rating end) as official_rating,
        max(case when results.won = 1 then entries.body_weight_lb end) as winning_body_weight_lb,
        max(case when results.won = 1 then entries.weight_lb end) as winning_weight_lb
    from entries
    left join results on results.runner_key = entries.runner_key
    group by entries.horse_key, entries.race_date
),
horse_frames as (
    select
        *,
        -- Rows of the look-backs, counted once: a frame of so many rows is cheaper than searching the dates anew for every value.
        count(*) over days_730 as rows_730d,
        count(*) over days_365 as rows_365d
    from horse_days
    window
        days_730 as (partition by horse_key order by race_date range between 730 preceding and 1 preceding),
        days_365 as (partition by horse_key order by race_date range between 365 preceding and 1 preceding)
),
horse_windows as (
    select
        horse_key,
        race_date,
        last_value(body_weight_lb ignore nulls) over career as last_body_weight_lb,
        avg(body_weight_lb) over days_365 as mean_body_weight_lb,
        avg(winning_body_weight_lb) over career as winning_body_weight_lb,
        max(winning_weight_lb) over career as winning_weight_lb,
        avg(official_rating) over days_365 as mean_rating
    from horse_frames
    window
        career as (partition by horse_key order by race_date rows between rows_730d preceding and 1 preceding),
        days_365 as (partition by horse_key order by race_date rows between rows_365d preceding and 1 preceding)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    entries.weight_lb, -- weight carried [lb]
    entries.weight_lb - fields.mean_weight_lb as weight_vs_field_lb, -- weight carried less the mean of the field [lb]
    entries.weight_lb - windows.winning_weight_lb as weight_above_best_win_lb, -- weight carried less the highest the horse has won under in 730 days; null without a win [lb]
    case
        when races.is_handicap and fields.pounds_less_rating - (entries.weight_lb - entries.official_rating) between 0 and 10 then fields.pounds_less_rating - (entries.weight_lb - entries.official_rating)
    end as claim_lb, -- allowance claimed by the jockey, read off weight less rating in a handicap; null elsewhere and where no rating is published [lb]
    entries.official_rating, -- official rating; null where none is published [points]
    entries.official_rating - fields.mean_rating as or_vs_field, -- official rating less the mean of the field [points]
    entries.official_rating - windows.mean_rating as or_vs_year, -- official rating less the horse's mean of 365 days [points]
    entries.body_weight_lb, -- declared weight of the horse; null where none is declared [lb]
    entries.body_weight_lb - windows.last_body_weight_lb as body_weight_delta_lb, -- declared weight less that of the last run [lb]
    entries.body_weight_lb - windows.mean_body_weight_lb as body_weight_vs_year_lb, -- declared weight less the horse's mean of 365 days [lb]
    entries.body_weight_lb - windows.winning_body_weight_lb as body_weight_vs_wins_lb, -- declared weight less the horse's mean when winning; null without a win [lb]
    entries.weight_lb / nullif(entries.body_weight_lb, 0) as weight_share, -- weight carried as a share of the horse's own [share]
    entries.age_years, -- age [years]
    entries.card_rating, -- the card's master rating, published before the race; null without a card [points]
    entries.card_speed_rating -- the card's master speed rating, published before the race; null without a card [points]
from entries
left join races on races.race_key = entries.race_key
left join fields on fields.race_key = entries.race_key
left join horse_windows as windows on windows.horse_key = entries.horse_key and windows.race_date = entries.race_date
where entries.race_date >= cast($start as date)
