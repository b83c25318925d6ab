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
declarations as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        entries.horse_key,
        entries.weight_lb,
        races.class_number,
        races.rating_band_high,
        -- Where no rating is published the weights of a Hong Kong handicap give it: the top of the band carries 133 lb, a pound a point.
        coalesce(entries.official_rating, case when races.country = 'HK' and races.is_handicap then races.rating_band_high - 133 + entries.weight_lb end) as handicap_mark
    from entries
    inner join races on races.race_key = entries.race_key
),
targets as (
    select race_date, race_key, runner_key, horse_key, weight_lb, class_number, rating_band_high, handicap_mark
    from declarations
    where race_date >= cast($start as date)
),
run_days as (
    select
        declarations.horse_key,
        declarations.race_date,
        max(declarations.class_number) as class_number,
        max(declarations.rating_band_high) as rating_band_high,
        max(declarations.weight_lb) as weight_lb,
        max(declarations.handicap_mark) as handicap_mark,
        min(case when results.won = 1 then declarations.class_number end) as class_won,
        max(case when results.won = 1 then declarations.handicap_mark end) as mark_won
    from declarations
    inner join results on results.runner_key = declarations.runner_key
    group by declarations.horse_key, declarations.race_date
),
careers as (
    select
        targets.runner_key,
        targets.race_date,
        max(run_days.race_date) as last_date,
        min(run_days.race_date) as first_date,
        min(run_days.class_won) as best_class_won,
        max(run_days.mark_won) as best_mark_won
    from targets
    inner join run_days
        on run_days.horse_key = targets.horse_key and run_days.race_date < targets.race_date and run_days.race_date >= targets.race_date - 730
    group by targets.runner_key, targets.race_date
),
moves as (
    select
        targets.race_date,
        targets.race_key,
        targets.runner_key,
        targets.handicap_mark,
        targets.class_number - last_runs.class_number as class_drop,
        last_runs.rating_band_high - targets.rating_band_high as band_drop,
        targets.class_number - careers.best_class_won as best_class_drop,
        date_diff('day', careers.last_date, targets.race_date) as layoff_days,
        date_diff('day', careers.first_date, targets.race_date) as career_days,
        targets.weight_lb - last_runs.weight_lb as weight_delta,
        targets.handicap_mark - last_runs.handicap_mark as or_delta,
        targets.handicap_mark - careers.best_mark_won as mark_above_best_win
    from targets
    left join careers on careers.runner_key = targets.runner_key and careers.race_date = targets.race_date
    left join run_days as last_runs
        on last_runs.horse_key = targets.horse_key and last_runs.race_date = careers.last_date and last_runs.race_date < targets.race_date
)
select
    race_date, -- day of the race [date]
    race_key, -- key of the race [key]
    runner_key, -- key of the runner [key]
    class_drop, -- class number today less that of the last run; positive = easier race today; null where races carry no class [classes]
    case when class_drop is not null then cast(class_drop > 0 as integer) end as classdrop_flag, -- drops in class today; null where the move is unknown [0/1]
    layoff_days, -- days since the last run; null without a run in 730 days [days]
    case
        when layoff_days < 7 then 0
        when layoff_days <= 90 then (layoff_days - 7) / 83.0
        when layoff_days > 90 then least(1 + (layoff_days - 90) / 30.0, 5)
    end as layoff_penalty, -- 0 under 7 days off, linear to 1 at 90, then 1 more per 30 days up to 5; null without a run [points]
    case when layoff_days is not null then cast(layoff_days between 30 and 60 as integer) end as freshness_flag, -- 30 to 60 days off; null without a run [0/1]
    weight_delta, -- weight carried today less that of the last run [lb]
    or_delta, -- official rating today less that of the last run (Hong Kong: read off the weights) [points]
    handicap_mark, -- official rating, or the mark read off the weights of a Hong Kong handicap [points]
    mark_above_best_win, -- rating today less the highest the horse has won off in 730 days; null without a win [points]
    band_drop, -- top of the rating band of the last run less today's; positive = easier race today [points]
    best_class_drop, -- class number today less the best class won in 730 days; null without a win [classes]
    career_days -- days since the first run within 730 days; null without a run [days]
from moves
