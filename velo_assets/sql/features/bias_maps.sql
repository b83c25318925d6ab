-- grain: one row per runner
-- point in time: results of strictly earlier race days; the frames of windows end the day before; the draw bias of a past run as known before that run
-- look-back: 730 days of the horse's runs and of the draw
-- description: Draw bias by course, distance band, going and rail (flat races only), shrunk; its persistence; and the horse's own affinity to course and going.
with day_runners as (
    -- Whose past is asked for where the window is a single day; all of what has no bearing on them is left out below.
    select horse_key
    from core.entries
    where race_date = cast($start as date) and cast($start as date) = cast($end as date)
),
day_trips as (
    select hash(country, course, surface, round(distance_furlongs)) as trip
    from core.races
    where race_date = cast($start as date) and cast($start as date) = cast($end as date)
),
window_horses as (
    select distinct horse_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
entries as (
    select race_date, race_key, runner_key, horse_key, stall
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
results as (
    select runner_key, won, position
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
races as (
    select
        race_key,
        code in ('flat', 'all-weather') and field_size > 1 as has_draw,
        hash(country, course, surface) as course_key,
        hash(country, course, surface, round(distance_furlongs)) as trip,
        hash(going_group) as going_key,
        field_size
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
-- What was known before a race is on record with it.
slopes as (
    select race_key, draw_slope, draw_rail_slope, draw_slope_persists
    from features.draw_slopes
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
shrinkage as (
    select
        race_date,
        max(strength_expected_wins) filter (where entity = 'stall') as stall_strength,
        max(strength_expected_wins) filter (where entity = 'horse') as horse_strength
    from features.shrinkage
    group by race_date
),
runs as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        entries.horse_key,
        races.course_key,
        races.trip,
        races.going_key,
        results.won is not null as has_run,
        -- What is summed travels as one whole number: one sum for both, exact in any order. Wins from 2^42 (4398046511104)
        -- up, below them wins expected held to 2^-24 (16777216 = 2^24): a quarter of a million fit.
        4398046511104 * results.won + cast(round(16777216.0 / races.field_size) as bigint) as won_and_expected,
        case when races.has_draw then entries.stall end as stall,
        case when entries.stall is not null and races.has_draw then (least(entries.stall, races.field_size) - 1) / (races.field_size - 1) end as stall_share,
        case when entries.stall is not null and races.has_draw then least(cast(floor(5.0 * (least(entries.stall, races.field_size) - 1) / races.field_size) as integer), 4) end as stall_fifth,
        case
            when results.runner_key is null or races.field_size < 2 then null
            when results.position is null then 0
            else (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)
        end as rivals_beaten
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
    where cast($start as date) < cast($end as date)
        or entries.horse_key in (select horse_key from day_runners)
        or (races.has_draw and races.trip in (select trip from day_trips))
),
stall_runs as (
    -- A single day's past is one day.
    select trip, going_key, stall, stall_fifth, greatest(race_date, case when cast($start as date) = cast($end as date) then cast($start as date) - 1 end) as race_date, won_and_expected, rivals_beaten
    from runs
    where stall_fifth is not null
),
stall_days as (
    select trip, going_key, stall_fifth, race_date, sum(won_and_expected) as won_and_expected
    from stall_runs
    group by trip, going_key, stall_fifth, race_date
),
stall_going_windows as (
    select
        trip,
        going_key,
        stall_fifth,
        race_date,
        coalesce(sum(won_and_expected) over career, 0) as won_and_expected
    from stall_days
    window career as (partition by trip, going_key, stall_fifth order by race_date range between 730 preceding and 1 preceding)
),
stall_trip_days as (
    select trip, stall_fifth, race_date, sum(won_and_expected) as won_and_expected
    from stall_days
    group by trip, stall_fifth, race_date
),
stall_trip_windows as (
    select
        trip,
        stall_fifth,
        race_date,
        coalesce(sum(won_and_expected) over career, 0) as won_and_expected
    from stall_trip_days
    window career as (partition by trip, stall_fifth order by race_date range between 730 preceding and 1 preceding)
),
stall_number_days as (
    -- Runs 2^47 (65536 of them fit), share of rivals beaten held to 2^-30.
    select trip, stall, race_date, cast(sum(140737488355328 + cast(round(1073741824.0 * rivals_beaten) as bigint)) as bigint) as runs_and_beaten
    from stall_runs
    group by trip, stall, race_date
),
stall_number_windows as (
    select
        trip,
        stall,
        race_date,
        coalesce(cast(sum(runs_and_beaten) over career as bigint), 0) as runs_and_beaten
    from stall_number_days
    window career as (partition by trip, stall order by race_date range between 730 preceding and 1 preceding)
),
stall_effects as (
    select
        trip,
        stall,
        race_date,
        -- A hundred runs at the half steady a stall number: a prior, not a fit.
        ((runs_and_beaten & 140737488355327) / 1073741824.0 - 0.5 * (runs_and_beaten >> 47)) / ((runs_and_beaten >> 47) + 100) as stall_effect
    from stall_number_windows
),
draws as (
    select
        runs.race_date,
        runs.race_key,
        runs.runner_key,
        runs.horse_key,
        runs.course_key,
        runs.trip,
        runs.going_key,
        runs.stall,
        runs.stall_share,
        runs.stall_fifth,
        runs.won_and_expected,
        (runs.stall_share - 0.5) * slopes.draw_slope as draw_bias,
        (runs.stall_share - 0.5) * slopes.draw_rail_slope as draw_rail_bias,
        case when runs.stall_share is not null then slopes.draw_slope_persists end as bias_persist_flag,
        case when runs.has_run then (runs.stall_share - 0.5) * slopes.draw_slope end as run_draw_bias,
        pow(2, date_diff('day', date '2015-01-01', runs.race_date) / 90.0) as weight_90d
    from runs
    left join slopes on slopes.race_key = runs.race_key
    where runs.horse_key in (select horse_key from window_horses)
),
-- Windows of runners, not of days: their frames leave out the whole day, however many runners it has.
horse_windows as (
    select
        race_date,
        race_key,
        runner_key,
        trip,
        going_key,
        stall,
        stall_share,
        stall_fifth,
        draw_bias,
        draw_rail_bias,
        bias_persist_flag,
        -- The latest day's draw bias, held to 2^-40 above 2^62: the same one in whatever order the rows come.
        max(date_diff('day', date '2000-01-01', race_date) * 18446744073709551616 + 4611686018427387904 + cast(round(1099511627776.0 * run_draw_bias) as bigint)) over career as last_draw,
        sum(run_draw_bias * weight_90d) over career / nullif(sum(case when run_draw_bias is not null then weight_90d end) over career, 0) as draw_bias_ewma,
        coalesce(sum(won_and_expected) over going, 0) as going_won_and_expected
    from draws
    window
        career as (partition by horse_key order by race_date range between 730 preceding and 1 preceding),
        going as (partition by horse_key, course_key, going_key order by race_date range between 730 preceding and 1 preceding)
),
targets as (
    select
        horse_windows.*,
        -- 20 and 5 expected wins stand in until a year of results lies before; priors, not fits.
        coalesce(shrinkage.stall_strength, 20) as stall_strength,
        coalesce(shrinkage.horse_strength, 5) as horse_strength
    from horse_windows
    left join shrinkage on shrinkage.race_date = date_trunc('year', horse_windows.race_date)
    where horse_windows.race_date >= cast($start as date)
)
select
    targets.race_date, -- day of the race [date]
    targets.race_key, -- key of the race [key]
    targets.runner_key, -- key of the runner [key]
    ((going.won_and_expected >> 42) + targets.stall_strength * ((trip.won_and_expected >> 42) + targets.stall_strength) / ((trip.won_and_expected & 4398046511103) / 16777216.0 + targets.stall_strength)) / ((going.won_and_expected & 4398046511103) / 16777216.0 + targets.stall_strength) as draw_iv, -- wins from this fifth of the stalls against 1/field size at course, distance and going, shrunk to course and distance, those to 1; null over jumps [ratio]
    targets.draw_bias, -- share of rivals the stall is worth at course and distance; null over jumps [share]
    targets.draw_rail_bias, -- the same with this rail position, shrunk to all rails; null over jumps [share]
    targets.bias_persist_flag, -- the draw's slope is beyond two standard errors and the last 90 days point the same way; null under 100 runs, without a run in 90 days, and over jumps [0/1]
    stall_effects.stall_effect as draw_stall_effect, -- mean share of rivals beaten, less a half, from this stall number at course and distance, shrunk to 0; null over jumps [share]
    (cast(targets.last_draw & 18446744073709551615 as bigint) - 4611686018427387904) / 1099511627776.0 as draw_bias_last, -- draw bias of the horse's last run as known then: an excuse when negative; null without one on the flat [share]
    targets.draw_bias_ewma, -- time-weighted mean draw bias of its past runs, half-life 90 days [share]
    targets.stall_share, -- stall as a share of the field, 0 = stall 1, 1 = the highest; null over jumps [share]
    ((targets.going_won_and_expected >> 42) + targets.horse_strength) / ((targets.going_won_and_expected & 4398046511103) / 16777216.0 + targets.horse_strength) as course_going_iv -- the horse's wins at this course and going against 1/field size, shrunk to 1 [ratio]
from targets
left join stall_going_windows as going
    on going.trip = targets.trip and going.going_key = targets.going_key and going.stall_fifth = targets.stall_fifth and going.race_date = targets.race_date
left join stall_trip_windows as trip
    on trip.trip = targets.trip and trip.stall_fifth = targets.stall_fifth and trip.race_date = targets.race_date
left join stall_effects
    on stall_effects.trip = targets.trip and stall_effects.stall = targets.stall and stall_effects.race_date = targets.race_date
