-- grain: one row per runner and call
-- point in time: known after the race
-- look-back: none
-- description: Where each runner lay at each call, with section times. A runner that went out before a call has a null position there.
with entries as (
    select runner_key, race_key, race_date, horse
    from core.entries
    where race_date between $start and $end
),

races as (
    select race_key, race_id
    from core.races
    where race_date between $start and $end and race_id is not null
),

sidecar as (
    select race_id, name_key(horse) as horse_text, call_positions, section_seconds, leader_elapsed_seconds,
        leader_section_seconds, sequence, line_number
    from landing.sectionals
    where race_id in (select race_id from races)
),

latest as (
    select *
    from sidecar
    qualify row_number() over (partition by race_id, horse_text order by sequence desc, line_number desc) = 1
),

-- race_id is reused over the years: a row that fits two races of the window fits neither.
matched as (
    select
        entries.runner_key, entries.race_key, entries.race_date, latest.call_positions, latest.section_seconds,
        latest.leader_elapsed_seconds, latest.leader_section_seconds
    from entries
    join races on entries.race_key = races.race_key
    join latest on races.race_id = latest.race_id and name_key(entries.horse) = latest.horse_text
    qualify count(*) over (partition by latest.race_id, latest.horse_text) = 1
),

counted as (
    select
        *,
        max(greatest(len(call_positions), coalesce(len(leader_elapsed_seconds), 0)))
            over (partition by race_key)::integer as calls
    from matched
),

called as (
    select *, unnest(range(1, calls + 1))::integer as call_number
    from counted
)

select
    runner_key, -- runner
    race_key, -- race
    race_date, -- day of the race
    call_number, -- call, from 1; the last is the finish
    calls, -- calls of the race [count]
    call_positions[call_number] as position_at_call, -- place of the runner at the call, null once it is out of the race
    section_seconds[call_number] as section_seconds, -- the runner's own time for the section, null where the source has only the leader's [s]
    leader_elapsed_seconds[call_number] as leader_elapsed_seconds, -- time of the leader from the start to the call [s]
    leader_section_seconds[call_number] as leader_section_seconds -- time of the leader for the section that ends at the call [s]
from called
order by race_date, race_key, runner_key, call_number
