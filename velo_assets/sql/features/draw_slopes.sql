-- grain: one row per race
-- point in time: stalls and results of strictly earlier race days; the frames of windows end the day before
-- look-back: 730 days
-- description: What a stall was worth at course and distance as known before the race: the slope of the share of rivals beaten on the stall's place in the row, over all rail positions and with today's; flat races only.
with day_trips as (
    -- Whose past is asked for where the window is a single day; all of what has no bearing on them is left out below.
    select hash(country, course, surface, round(distance_furlongs)) as trip
    from core.races
    where race_date = cast($start as date) and cast($start as date) = cast($end as date)
),
races as (
    select
        race_date,
        race_key,
        hash(country, course, surface, round(distance_furlongs)) as trip,
        hash(coalesce(rail, '')) as rail,
        code in ('flat', 'all-weather') and field_size > 1 as has_draw,
        field_size
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
entries as (
    select race_key, runner_key, stall
    from core.entries
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date) and stall is not null
),
results as (
    select runner_key, position
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)
),
runs as (
    select
        -- A single day's past is two days: no other look-back has its first day between two of them.
        greatest(
            races.race_date,
            case
                when cast($start as date) < cast($end as date) then null
                when races.race_date < cast($start as date) - 90 then cast($start as date) - 91
                else cast($start as date) - 1
            end
        ) as race_date,
        races.trip,
        races.rail,
        (least(entries.stall, races.field_size) - 1) / (races.field_size - 1) - 0.5 as stall_offset,
        case
            when results.runner_key is null then null
            when results.position is null then 0
            else (races.field_size - least(results.position, races.field_size)) / (races.field_size - 1)
        end - 0.5 as beaten_offset
    from races
    inner join entries on entries.race_key = races.race_key
    left join results on results.runner_key = entries.runner_key
    where races.has_draw and (cast($start as date) < cast($end as date) or races.trip in (select trip from day_trips))
),
rail_days as (
    select
        trip,
        rail,
        race_date,
        count(beaten_offset) as runs,
        -- Held to 2^-30 (1073741824 = 2^30): sums are then exact in any order, and so is the sign of a slope next to none.
        coalesce(sum(round(1073741824 * stall_offset * beaten_offset) / 1073741824), 0) as crossed,
        coalesce(sum(case when beaten_offset is not null then round(1073741824 * pow(stall_offset, 2)) / 1073741824 end), 0) as squared
    from runs
    group by trip, rail, race_date
),
trip_days as (
    select trip, race_date, sum(runs) as runs, sum(crossed) as crossed, sum(squared) as squared
    from rail_days
    group by trip, race_date
),
trip_windows as (
    select
        trip,
        race_date,
        coalesce(sum(runs) over career, 0) as runs,
        coalesce(sum(crossed) over career, 0) as crossed,
        coalesce(sum(squared) over career, 0) as squared,
        coalesce(sum(crossed) over days_90, 0) as crossed_90d
    from trip_days
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
    from rail_days
    window career as (partition by trip, rail order by race_date range between 730 preceding and 1 preceding)
),
slopes as (
    select
        rail_windows.trip,
        rail_windows.rail,
        rail_windows.race_date,
        -- A slope is steadied by 50 runs' worth of no bias (a stall share spreads by 1/12), a rail's by 50 runs' worth of the trip's slope.
        trip_windows.crossed / (trip_windows.squared + 50.0 / 12) as trip_slope,
        (rail_windows.crossed + 50.0 / 12 * trip_windows.crossed / (trip_windows.squared + 50.0 / 12)) / (rail_windows.squared + 50.0 / 12) as rail_slope,
        trip_windows.crossed_90d,
        -- A rivals-beaten share spreads by 1/12 too, hence the standard error of the slope.
        sqrt(1.0 / 12 / nullif(trip_windows.squared, 0)) as trip_slope_error,
        trip_windows.runs
    from rail_windows
    inner join trip_windows on trip_windows.trip = rail_windows.trip and trip_windows.race_date = rail_windows.race_date
)
select
    races.race_date, -- day of the race [date]
    races.race_key, -- key of the race [key]
    slopes.trip_slope as draw_slope, -- share of rivals that the highest stall beats beyond the lowest at course and distance, shrunk to 0; null over jumps [share]
    slopes.rail_slope as draw_rail_slope, -- the same with this rail position, shrunk to all rails; null over jumps [share]
    case
        when slopes.runs >= 100 and slopes.crossed_90d <> 0 then cast(abs(slopes.trip_slope) > 2 * slopes.trip_slope_error and sign(slopes.crossed_90d) = sign(slopes.trip_slope) as integer)
    end as draw_slope_persists -- the slope is beyond two standard errors and the last 90 days point the same way; null under 100 runs, without a run in 90 days, and over jumps [0/1]
from races
left join slopes on slopes.trip = races.trip and slopes.rail = races.rail and slopes.race_date = races.race_date and races.has_draw
where races.race_date >= cast($start as date)
