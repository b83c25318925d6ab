-- grain: one row per runner
-- point in time: comments of the horse's strictly earlier race days, collapsed to one row per horse and day; only days with a result count as runs
-- look-back: the last three runs within 730 days, and 365 days, horses that run in the window only
-- description: Trouble in running, from comments: how often the horse was slowly away, hampered, short of room, wide or made mistakes.
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
    select
        runner_key,
        outcome,
        cast(trouble_slowly_away as integer) as slowly_away,
        cast(trouble_mistakes as integer) as mistakes,
        cast(trouble_hampered or trouble_short_of_room or trouble_wide or trouble_slowly_away as integer) as trouble,
        cast(trouble_hampered or trouble_short_of_room as integer) as blocked
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
horse_days as (
    select
        entries.horse_key,
        entries.race_date,
        max(results.slowly_away) as slowly_away,
        max(results.mistakes) as mistakes,
        max(case when results.runner_key is not null then entries.race_date end) as run_date,
        -- -1 stands for a run without a comment, so that a lag over runs never steps back to an older run.
        max(case when results.runner_key is not null then coalesce(results.trouble, -1) end) as run_trouble,
        max(results.blocked) as blocked,
        max(case when results.outcome = 'finished' then 0 when results.outcome is not null and results.outcome <> 'unknown' then 1 end) as not_completed
    from entries
    left join results on results.runner_key = entries.runner_key
    group by entries.horse_key, entries.race_date
),
horse_frames as (
    select
        *,
        -- Rows of the look-back, counted once: a frame of so many rows is cheaper than searching the dates anew for every value.
        count(*) over days_365 as rows_365d
    from horse_days
    window days_365 as (partition by horse_key order by race_date range between 365 preceding and 1 preceding)
),
horse_windows as (
    select
        horse_key,
        race_date,
        -- A lag knows no look-back of its own; the date beside it gives it one.
        case when race_date - lag(run_date, 1 ignore nulls) over runs <= 730 then nullif(lag(run_trouble, 1 ignore nulls) over runs, -1) end as trouble_1,
        case when race_date - lag(run_date, 2 ignore nulls) over runs <= 730 then nullif(lag(run_trouble, 2 ignore nulls) over runs, -1) end as trouble_2,
        case when race_date - lag(run_date, 3 ignore nulls) over runs <= 730 then nullif(lag(run_trouble, 3 ignore nulls) over runs, -1) end as trouble_3,
        last_value(blocked ignore nulls) over days_365 as blocked_last,
        avg(slowly_away) over days_365 as slowly_away_rate,
        avg(mistakes) over days_365 as mistakes_rate,
        avg(not_completed) over days_365 as not_completed_rate
    from horse_frames
    window
        runs as (partition by horse_key order by race_date),
        days_365 as (partition by horse_key order by race_date rows between rows_365d preceding and 1 preceding)
),
rates as (
    select
        horse_key,
        race_date,
        trouble_1,
        (coalesce(trouble_1, 0) + coalesce(trouble_2, 0) + coalesce(trouble_3, 0)) / nullif(cast(trouble_1 is not null as integer) + cast(trouble_2 is not null as integer) + cast(trouble_3 is not null as integer), 0) as trouble_rate,
        blocked_last,
        slowly_away_rate,
        mistakes_rate,
        not_completed_rate
    from horse_windows
    where race_date >= cast($start as date)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    rates.trouble_rate, -- share of the last three runs with trouble (hampered, short of room, wide, slowly away); null where no comment is known [share]
    rates.trouble_1 as trouble_last, -- trouble last time; null without a comment [0/1]
    rates.blocked_last, -- hampered or short of room last time; null without a comment in 365 days [0/1]
    rates.slowly_away_rate, -- share of the runs of 365 days slowly away; null without a comment [share]
    rates.mistakes_rate, -- share of the runs of 365 days with jumping mistakes; null without a comment [share]
    rates.not_completed_rate -- share of the runs of 365 days not completed; null without a run [share]
from entries
left join rates on rates.horse_key = entries.horse_key and rates.race_date = entries.race_date
where entries.race_date >= cast($start as date)
