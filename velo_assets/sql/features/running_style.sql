-- grain: one row per runner
-- point in time: comments and calls of the horse's strictly earlier race days, only days with a result count as runs; the race's own pace is the sum of its runners' past rates
-- look-back: the last six runs within 730 days, horses that run in the window only
-- description: Running style (led, prominent, held up) as shrunk rates over the last six runs, from comments, from the first call where comments are blank; the pace those make in this race; style against pace and draw.
with window_horses as (
    select distinct horse_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, horse_key, stall
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
        and horse_key in (select horse_key from window_horses)
),
results as (
    select runner_key, style_score
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
first_calls as (
    select runner_key, position_at_call
    from core.sectionals
    where call_number = 1 and race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
races as (
    select race_key, field_size, code
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
horse_days as (
    select
        entries.horse_key,
        entries.race_date,
        max(case when results.runner_key is not null then entries.race_date end) as run_date,
        -- -1 stands for the unknown style of a run, so that a lag over runs never steps back to an older run.
        max(case when results.runner_key is not null then coalesce(
            results.style_score,
            case when races.field_size > 1 and first_calls.position_at_call is not null then 1 - (least(first_calls.position_at_call, races.field_size) - 1) / (races.field_size - 1) end,
            -1
        ) end) as run_style
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
    left join first_calls on first_calls.runner_key = entries.runner_key
    group by entries.horse_key, entries.race_date
),
horse_lags as (
    select
        horse_key,
        race_date,
        -- A lag knows no look-back of its own; the date beside it gives it one.
        case when race_date - lag(run_date, 1 ignore nulls) over runs <= 730 then nullif(lag(run_style, 1 ignore nulls) over runs, -1) end as score_1,
        case when race_date - lag(run_date, 2 ignore nulls) over runs <= 730 then nullif(lag(run_style, 2 ignore nulls) over runs, -1) end as score_2,
        case when race_date - lag(run_date, 3 ignore nulls) over runs <= 730 then nullif(lag(run_style, 3 ignore nulls) over runs, -1) end as score_3,
        case when race_date - lag(run_date, 4 ignore nulls) over runs <= 730 then nullif(lag(run_style, 4 ignore nulls) over runs, -1) end as score_4,
        case when race_date - lag(run_date, 5 ignore nulls) over runs <= 730 then nullif(lag(run_style, 5 ignore nulls) over runs, -1) end as score_5,
        case when race_date - lag(run_date, 6 ignore nulls) over runs <= 730 then nullif(lag(run_style, 6 ignore nulls) over runs, -1) end as score_6
    from horse_days
    window runs as (partition by horse_key order by race_date)
),
horse_counts as (
    select
        horse_key,
        race_date,
        score_1,
        cast(score_1 is not null as integer) + cast(score_2 is not null as integer) + cast(score_3 is not null as integer) + cast(score_4 is not null as integer) + cast(score_5 is not null as integer) + cast(score_6 is not null as integer) as runs,
        coalesce(score_1, 0) + coalesce(score_2, 0) + coalesce(score_3, 0) + coalesce(score_4, 0) + coalesce(score_5, 0) + coalesce(score_6, 0) as score,
        coalesce(cast(score_1 >= 0.99 as integer), 0) + coalesce(cast(score_2 >= 0.99 as integer), 0) + coalesce(cast(score_3 >= 0.99 as integer), 0) + coalesce(cast(score_4 >= 0.99 as integer), 0) + coalesce(cast(score_5 >= 0.99 as integer), 0) + coalesce(cast(score_6 >= 0.99 as integer), 0) as led,
        coalesce(cast(score_1 between 0.6 and 0.98 as integer), 0) + coalesce(cast(score_2 between 0.6 and 0.98 as integer), 0) + coalesce(cast(score_3 between 0.6 and 0.98 as integer), 0) + coalesce(cast(score_4 between 0.6 and 0.98 as integer), 0) + coalesce(cast(score_5 between 0.6 and 0.98 as integer), 0) + coalesce(cast(score_6 between 0.6 and 0.98 as integer), 0) as prominent,
        coalesce(cast(score_1 < 0.4 as integer), 0) + coalesce(cast(score_2 < 0.4 as integer), 0) + coalesce(cast(score_3 < 0.4 as integer), 0) + coalesce(cast(score_4 < 0.4 as integer), 0) + coalesce(cast(score_5 < 0.4 as integer), 0) + coalesce(cast(score_6 < 0.4 as integer), 0) as held_up
    from horse_lags
    where race_date >= cast($start as date)
),
styles as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        counts.runs,
        counts.score_1 as style_last,
        -- Two runs of an average horse (led 0.12, prominent 0.28, held up 0.40) steady a short record: priors, not fits.
        (counts.score + 2 * 0.5) / (counts.runs + 2) as style_mean,
        (counts.led + 2 * 0.12) / (counts.runs + 2) as lead_rate,
        (counts.prominent + 2 * 0.28) / (counts.runs + 2) as prominent_rate,
        (counts.held_up + 2 * 0.40) / (counts.runs + 2) as held_up_rate,
        case when entries.stall is not null and races.code in ('flat', 'all-weather') and races.field_size > 1 then (least(entries.stall, races.field_size) - 1) / (races.field_size - 1) end as stall_share
    from entries
    inner join races on races.race_key = entries.race_key
    left join horse_counts as counts on counts.horse_key = entries.horse_key and counts.race_date = entries.race_date
    where entries.race_date >= cast($start as date)
),
race_paces as (
    select
        race_key,
        -- Held to 2^-30 (1073741824 = 2^30): the sum is then exact in any order, and what is left beyond one leader with it.
        sum(round(1073741824 * lead_rate)) / 1073741824 as lead_rate,
        -- A race where nobody's style is known has no pace to speak of.
        sum(runs) as runs
    from styles
    group by race_key
)
select
    styles.race_date, -- day of the race [date]
    styles.race_key, -- key of the race [key]
    styles.runner_key, -- key of the runner [key]
    case when styles.runs > 0 then styles.lead_rate end as lead_rate, -- share of the last six runs in front early, shrunk; null where no style is known [share]
    case when styles.runs > 0 then styles.prominent_rate end as prominent_rate, -- share of the last six runs prominent, shrunk; null where no style is known [share]
    case when styles.runs > 0 then styles.held_up_rate end as held_up_rate, -- share of the last six runs held up, shrunk; null where no style is known [share]
    case when styles.runs > 0 then styles.style_mean end as style_mean, -- mean early position over the last six runs, 1 = in front, 0 = last, shrunk; null where no style is known [share]
    styles.style_last, -- early position last time, 1 = in front, 0 = last [share]
    cast(styles.runs as integer) as style_runs, -- runs of the last six with a known style [runs]
    case when race_paces.runs > 0 then race_paces.lead_rate end as race_pace, -- sum of the lead rates of the race's runners; null where no style is known [leaders]
    case when styles.runs > 0 then (styles.style_mean - 0.5) * (race_paces.lead_rate - 1) end as style_by_pace, -- front-running style times pace beyond one leader: a front runner in a fast race is positive [share x leaders]
    case when styles.runs > 0 then (styles.style_mean - 0.5) * (styles.stall_share - 0.5) end as style_by_draw -- front-running style times stall share, both centred; null over jumps [share squared]
from styles
left join race_paces on race_paces.race_key = styles.race_key
