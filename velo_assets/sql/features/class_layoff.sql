-- grain: one row per runner
-- point in time: entries, races and results of the horse's strictly earlier race days; only days with a result count as runs
-- look-back: 730 days, horses that run in the window only
-- description: Class, layoff, weight and rating moves since the horse's last run.
with window_horses as (
    select distinct horse_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, horse_key, weight_lb, official_rating
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
    select
        race_key,
        country,
        is_handicap,
        rating_band_high,
        -- Pattern races are Class 1 in Britain whether or not the file says so.
        coalesce(race_class, case when pattern is not null then 1 end) as class_number
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
horse_days as (
    select
        entries.horse_key,
        entries.race_date,
        max(case when results.runner_key is not null then entries.race_date end) as run_date,
        max(races.class_number) as class_number,
        max(races.rating_band_high) as rating_band_high,
        max(entries.weight_lb) as weight_lb,
        -- Where no rating is published the weights of a Hong Kong handicap give it: the top of the band carries 133 lb, a pound a point.
        max(coalesce(entries.official_rating, case when races.country = 'HK' and races.is_handicap then races.rating_band_high - 133 + entries.weight_lb end)) as handicap_mark,
        -- -1 and -999 stand for an unknown value of a run, so that a lag over runs never steps back to an older run.
        max(case when results.runner_key is not null then coalesce(races.class_number, -1) end) as run_class,
        max(case when results.runner_key is not null then coalesce(races.rating_band_high, -1) end) as run_band,
        max(case when results.runner_key is not null then coalesce(entries.weight_lb, -1) end) as run_weight_lb,
        max(case when results.runner_key is not null then coalesce(entries.official_rating, case when races.country = 'HK' and races.is_handicap then races.rating_band_high - 133 + entries.weight_lb end, -999) end) as run_mark,
        min(case when results.won = 1 then races.class_number end) as won_class,
        max(case when results.won = 1 then coalesce(entries.official_rating, case when races.country = 'HK' and races.is_handicap then races.rating_band_high - 133 + entries.weight_lb end) end) as won_mark
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
    group by entries.horse_key, entries.race_date
),
horse_windows as (
    select
        horse_key,
        race_date,
        class_number,
        rating_band_high,
        weight_lb,
        handicap_mark,
        lag(run_date, 1 ignore nulls) over runs as last_date,
        min(run_date) over career as first_date,
        lag(run_class, 1 ignore nulls) over runs as last_class,
        lag(run_band, 1 ignore nulls) over runs as last_band,
        lag(run_weight_lb, 1 ignore nulls) over runs as last_weight_lb,
        lag(run_mark, 1 ignore nulls) over runs as last_mark,
        min(won_class) over career as best_class_won,
        max(won_mark) over career as best_mark_won
    from horse_days
    window
        career as (partition by horse_key order by race_date range between 730 preceding and 1 preceding),
        runs as (partition by horse_key order by race_date)
),
moves as (
    select
        horse_key,
        race_date,
        -- A lag knows no look-back of its own; the date beside it gives it that of the frames.
        case when race_date - last_date <= 730 then class_number - nullif(last_class, -1) end as class_drop,
        case when race_date - last_date <= 730 then nullif(last_band, -1) - rating_band_high end as band_drop,
        class_number - best_class_won as best_class_drop,
        case when race_date - last_date <= 730 then date_diff('day', last_date, race_date) end as layoff_days,
        date_diff('day', first_date, race_date) as career_days,
        case when race_date - last_date <= 730 then weight_lb - nullif(last_weight_lb, -1) end as weight_delta,
        handicap_mark,
        case when race_date - last_date <= 730 then handicap_mark - nullif(last_mark, -999) end as or_delta,
        handicap_mark - best_mark_won as mark_above_best_win
    from horse_windows
    where race_date >= cast($start as date)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    moves.class_drop, -- class number today less that of the last run; positive = easier race today; null where races carry no class [classes]
    case when moves.class_drop is not null then cast(moves.class_drop > 0 as integer) end as classdrop_flag, -- drops in class today; null where the move is unknown [0/1]
    moves.layoff_days, -- days since the last run; null without a run in 730 days [days]
    case
        when moves.layoff_days < 7 then 0
        when moves.layoff_days <= 90 then (moves.layoff_days - 7) / 83.0
        when moves.layoff_days > 90 then least(1 + (moves.layoff_days - 90) / 30.0, 5)
    end as layoff_penalty, -- 0 under 7 days off, linear to 1 at 90, then 1 more per 30 days up to 5; null without a run [points]
    case when moves.layoff_days is not null then cast(moves.layoff_days between 30 and 60 as integer) end as freshness_flag, -- 30 to 60 days off; null without a run [0/1]
    moves.weight_delta, -- weight carried today less that of the last run [lb]
    moves.or_delta, -- official rating today less that of the last run (Hong Kong: read off the weights) [points]
    moves.handicap_mark, -- official rating, or the mark read off the weights of a Hong Kong handicap [points]
    moves.mark_above_best_win, -- rating today less the highest the horse has won off in 730 days; null without a win [points]
    moves.band_drop, -- top of the rating band of the last run less today's; positive = easier race today [points]
    moves.best_class_drop, -- class number today less the best class won in 730 days; null without a win [classes]
    moves.career_days -- days since the first run within 730 days; null without a run [days]
from entries
left join moves on moves.horse_key = entries.horse_key and moves.race_date = entries.race_date
where entries.race_date >= cast($start as date)
