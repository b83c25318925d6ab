-- grain: one row per runner
-- point in time: results of strictly earlier race days; the frames of windows end the day before
-- look-back: 730 days of the horse's runs; 730 days of the draw before each of them
-- description: Draw bias by course, distance band, going and rail (flat races only), shrunk; its persistence; and the horse's own affinity to course and going.
with day_runners as (
    -- Whose past is asked for where the window is a single day; all of what has no bearing on them is left out below.
    select horse_key
    from core.entries
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
    where race_date >= cast($start as date) - 1460 and race_date <= cast($end as date)
        and (stall is not null or cast($start as date) < cast($end as date) or horse_key in (select horse_key from day_runners))
),
results as (
    select runner_key, won, position
    from core.results
    where race_date >= cast($start as date) - 1460 and race_date <= cast($end as date)
),
races as (
    select
        race_key,
        code,
        hash(country, course, surface) as course_key,
        hash(country, course, surface, round(distance_furlongs)) as trip,
        hash(going_group) as going_key,
        hash(coalesce(rail, '')) as rail,
        field_size
    from core.races
    where race_date >= cast($start as date) - 1460 and race_date <= cast($end as date)
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
        races.rail,
        results.won is not null as has_run,
        -- What is summed travels as one whole number: one sum for both, exact in any order. Wins from 2^42 (4398046511104)
        -- up, below them wins expected held to 2^-24 (16777216 = 2^24): a quarter of a million fit.
        4398046511104 * results.won + cast(round(16777216.0 / races.field_size) as bigint) as won_and_expected,
        case when races.code in ('flat', 'all-weather') and races.field_size > 1 then entries.stall end as stall,
        case when entries.stall is not null and races.code in ('flat', 'all-weather') and races.field_size > 1 then (least(entries.stall, races.field_size) - 1) / (races.field_size - 1) end as stall_share,
        case when entries.stall is not null and races.code in ('flat', 'all-weather') and races.field_size > 1 then least(cast(floor(5.0 * (least(entries.stall, races.field_size) - 1) / races.field_size) as integer), 4) end as stall_fifth,
        case
            when results.runner_key is null or races.field_size < 2 then null
            when results.position is null then 0
            else (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)
        end as rivals_beaten
    from entries
    inner join races on races.race_key = entries.race_key
    left join results on results.runner_key = entries.runner_key
),
stall_runs as (
    -- A single day's past is one day.
    select trip, going_key, stall, stall_fifth, greatest(race_date, case when cast($start as date) = cast($end as date) then cast($start as date) - 1 end) as race_date, won_and_expected, rivals_beaten
    from runs
    where stall_fifth is not null and race_date >= cast($start as date) - 730
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
slope_days as (
    select
        trip,
        rail,
        race_date,
        count(rivals_beaten) as runs,
        -- Held to 2^-30 (1073741824 = 2^30): sums are then exact in any order, and so is the sign of a slope next to none.
        coalesce(sum(case when rivals_beaten is not null then round(1073741824 * (stall_share - 0.5) * (rivals_beaten - 0.5)) / 1073741824 end), 0) as crossed,
        coalesce(sum(case when rivals_beaten is not null then round(1073741824 * pow(stall_share - 0.5, 2)) / 1073741824 end), 0) as squared
    from runs
    where stall_share is not null
    group by trip, rail, race_date
),
slope_trip_days as (
    select trip, race_date, sum(runs) as runs, sum(crossed) as crossed, sum(squared) as squared
    from slope_days
    group by trip, race_date
),
slope_windows as (
    select
        trip,
        race_date,
        coalesce(sum(runs) over career, 0) as runs,
        coalesce(sum(crossed) over career, 0) as crossed,
        coalesce(sum(squared) over career, 0) as squared,
        coalesce(sum(crossed) over days_90, 0) as crossed_90d,
        coalesce(sum(squared) over days_90, 0) as squared_90d
    from slope_trip_days
    window
        career as (partition by trip order by race_date range between 730 preceding and 1 preceding),
        days_90 as (partition by trip order by race_date range between 90 preceding and 1 preceding)
),
rail_windows as (
    select
        trip,
        rail,
        race_date,
        coalesce(sum(crossed) over career, 0) as crossed,
        coalesce(sum(squared) over career, 0) as squared
    from slope_days
    window career as (partition by trip, rail order by race_date range between 730 preceding and 1 preceding)
),
slopes as (
    select
        rail_windows.trip,
        rail_windows.rail,
        rail_windows.race_date,
        -- A slope is steadied by 50 runs' worth of no bias (a stall share spreads by 1/12), a rail's by 50 runs' worth of the trip's slope.
        slope_windows.crossed / (slope_windows.squared + 50.0 / 12) as trip_slope,
        (rail_windows.crossed + 50.0 / 12 * slope_windows.crossed / (slope_windows.squared + 50.0 / 12)) / (rail_windows.squared + 50.0 / 12) as rail_slope,
        slope_windows.crossed_90d,
        -- A rivals-beaten share spreads by 1/12 too, hence the standard error of the slope.
        sqrt(1.0 / 12 / nullif(slope_windows.squared, 0)) as trip_slope_error,
        slope_windows.runs
    from rail_windows
    inner join slope_windows on slope_windows.trip = rail_windows.trip and slope_windows.race_date = rail_windows.race_date
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
        (runs.stall_share - 0.5) * slopes.trip_slope as draw_bias,
        (runs.stall_share - 0.5) * slopes.rail_slope as draw_rail_bias,
        case
            when slopes.runs >= 100 and slopes.crossed_90d <> 0 then cast(abs(slopes.trip_slope) > 2 * slopes.trip_slope_error and sign(slopes.crossed_90d) = sign(slopes.trip_slope) as integer)
        end as bias_persist_flag,
        case when runs.has_run then (runs.stall_share - 0.5) * slopes.trip_slope end as run_draw_bias,
        pow(2, date_diff('day', date '2015-01-01', runs.race_date) / 90.0) as weight_90d
    from runs
    left join slopes on slopes.trip = runs.trip and slopes.rail = runs.rail and slopes.race_date = runs.race_date and runs.stall_share is not null
    where runs.race_date >= cast($start as date) - 730 and runs.horse_key in (select horse_key from window_horses)
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
