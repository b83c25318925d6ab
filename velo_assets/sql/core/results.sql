-- grain: one row per runner of a race whose result has landed
-- point in time: known after the race
-- look-back: none
-- description: What happened to each runner: position or outcome, margins, time, ratings given afterwards, and the comment read as facts.
with landed as (
    select *
    from landing.raceform
    where race_year between year($start::date) and year($end::date) and race_date between $start and $end
),

latest_result as (
    select race_key, max(sequence) as sequence
    from landed
    group by race_key
),

finished as (
    select
        landed.*,
        position_of(landed.pos) as position,
        outcome_of(landed.pos) as outcome,
        coalesce(position_of(landed.pos) = 1, false)::integer as won,
        text_or_null(landed.comment) as comment_text
    from landed
    inner join latest_result using (race_key, sequence)
),

shared as (
    select
        *,
        sum(won) over (partition by race_key) as winners,
        case when position is not null then count(*) over (partition by race_key, position) end as dead_heat_runners
    from finished
)

select
    runner_key, -- key of race and horse
    race_key, -- key of the race
    race_date, -- local date of the race
    horse_key, -- key of the horse
    text_or_null(pos) as position_text, -- position as it came
    position::integer as position, -- finishing position, null for those who did not finish
    outcome, -- finished, pulled up, fell, unseated, brought down, refused, ran out, slipped up, disqualified, carried out, left, unknown
    won, -- 1 for every winner, dead heats included, else 0 [0/1]
    coalesce(won / nullif(winners, 0), 0)::double as win_share, -- 1/n for n dead-heating winners; sums to 1 over a race that settles
    dead_heat_runners::integer as dead_heat_runners, -- runners at this position, 1 when alone [runners]
    case when position = 1 then 0.0 else lengths_of(ovr_btn) end as beaten_lengths, -- behind the winner [lengths]
    lengths_of(btn) as margin_lengths, -- behind the horse in front [lengths]
    coalesce(time_seconds_of("time"), time_seconds_of(secs)) as time_seconds, -- own time, derived from the winner's and the margins [seconds]
    rating_of(rpr) as racing_post_rating, -- performance rating given after the race [rating]
    rating_of(ts) as top_speed, -- speed rating given after the race [rating]
    money_of(prize) as prize_won, -- prize money won [currency as it came]
    comment_running_style(comment_text) as running_style, -- made all, led, prominent, mid-division, held up, in rear
    comment_style_score(comment_text) as style_score, -- 1 led to 0 in rear
    comment_slowly_away(comment_text) as trouble_slowly_away, -- lost ground at the start
    comment_hampered(comment_text) as trouble_hampered, -- hampered or bumped
    comment_short_of_room(comment_text) as trouble_short_of_room, -- no clear run
    comment_wide(comment_text) as trouble_wide, -- raced wide
    comment_mistakes(comment_text) as trouble_mistakes, -- jumped badly
    comment_has_note(comment_text) as has_jockey_or_steward_note, -- a jockey, trainer, vet or steward is quoted
    comment_text as comment, -- comment in running as it came
    source_file -- file the result came from
from shared
