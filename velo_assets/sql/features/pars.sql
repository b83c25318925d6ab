-- grain: one row per race
-- point in time: winning times and calls of strictly earlier race days; the frames of windows end the day before
-- look-back: 730 days
-- description: What was to be expected of a race's times before it was run: the par of the winner at course, distance and going, and the share of the time that the leader takes to the straight.
with day_trips as (
    -- Whose past is asked for where the window is a single day; all of what has no bearing on them is left out below.
    select hash(country, course, surface, code, round(2 * distance_furlongs)) as trip
    from core.races
    where race_date = cast($start as date) and cast($start as date) = cast($end as date) and distance_furlongs is not null
),
races as (
    select
        race_date,
        race_key,
        -- Half furlongs, to which every layout and every card writes a distance: metres of one trip differ from file to file.
        hash(country, course, surface, code, round(2 * distance_furlongs)) as trip,
        hash(trip, going_group) as going_trip
    from core.races
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date) and distance_furlongs is not null
),
results as (
    select race_key, time_seconds
    from core.results
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date) and position is not null
),
calls as (
    select race_key, call_number, calls, leader_elapsed_seconds
    from core.sectionals
    where race_date >= cast($start as date) - 730 and race_date <= cast($end as date) and calls > 1
),
asked_races as (
    select
        -- A single day's past is one day.
        greatest(race_date, case when cast($start as date) = cast($end as date) then cast($start as date) - 1 end) as race_date,
        race_key,
        trip,
        going_trip
    from races
    where cast($start as date) < cast($end as date) or trip in (select trip from day_trips)
),
race_times as (
    -- Held to a ten thousandth of a second, finer than any is taken: sums are then exact in any order.
    select race_key, round(10000 * min(time_seconds)) as winner_ticks
    from results
    group by race_key
),
race_calls as (
    select
        race_key,
        -- The last call is the finish; the one before it is the entry to the straight. Held to 2^-30 (1073741824 = 2^30).
        round(1073741824 * max(case when call_number = calls - 1 then leader_elapsed_seconds end) / nullif(max(case when call_number = calls then leader_elapsed_seconds end), 0)) / 1073741824 as early_share
    from calls
    group by race_key
),
going_days as (
    select
        asked_races.trip,
        asked_races.going_trip,
        asked_races.race_date,
        count(race_times.winner_ticks) as races,
        sum(race_times.winner_ticks) as ticks,
        count(race_calls.early_share) as paced_races,
        sum(race_calls.early_share) as early_share
    from asked_races
    left join race_times on race_times.race_key = asked_races.race_key
    left join race_calls on race_calls.race_key = asked_races.race_key
    group by asked_races.trip, asked_races.going_trip, asked_races.race_date
),
going_windows as (
    select
        going_trip,
        race_date,
        coalesce(sum(races) over career, 0) as races,
        coalesce(sum(ticks) over career, 0) as ticks
    from going_days
    window career as (partition by going_trip order by race_date range between 730 preceding and 1 preceding)
),
trip_days as (
    select trip, race_date, sum(races) as races, sum(ticks) as ticks, sum(paced_races) as paced_races, sum(early_share) as early_share
    from going_days
    group by trip, race_date
),
trip_windows as (
    select
        trip,
        race_date,
        sum(races) over career as races,
        sum(ticks) over career / nullif(sum(races) over career, 0) as par_ticks,
        sum(early_share) over career / nullif(sum(paced_races) over career, 0) as par_early_share
    from trip_days
    window career as (partition by trip order by race_date range between 730 preceding and 1 preceding)
)
select
    races.race_date, -- day of the race [date]
    races.race_key, -- key of the race [key]
    case when trip_windows.races >= 5 then (going_windows.ticks + 10 * trip_windows.par_ticks) / (going_windows.races + 10) / 10000 end as par_seconds, -- winning time to be expected at course, distance and going, steadied by ten races on any going; null under five races at course and distance [s]
    trip_windows.par_early_share -- mean share of the winning time that the leaders took to the last call but one at course and distance; null without calls [share]
from races
left join trip_windows on trip_windows.trip = races.trip and trip_windows.race_date = races.race_date
left join going_windows on going_windows.going_trip = races.going_trip and going_windows.race_date = races.race_date
where races.race_date >= cast($start as date)
