"""Off times: a clock without AM/PM until 2025-10-15, 24-hour from then on.

Sure: hours of 13 and more; any time from the switch on; and times below 13:00 where racing never starts in the small
hours: in Britain and Ireland 1:00-10:59 is afternoon or evening and 11:00-12:59 around midday, in Hong Kong (first race
12:30, last near midnight) 1:00-11:59 is afternoon or evening. Elsewhere a time below 13:00 is unsure: the day is all we
know, and the text as it came goes into the race key.
"""

from __future__ import annotations

CLOCK_24_HOURS_FROM = "2025-10-15"
"""First race date whose files write a 24-hour clock."""

LAST_AFTERNOON_HOUR = {"GB": 10, "IRE": 10, "HK": 11}
"""Country to the last hour of a 12-hour clock that is always after midday there."""

_LAST_HOUR = f"{list(LAST_AFTERNOON_HOUR.values())}[list_position({list(LAST_AFTERNOON_HOUR)}, country)]"
"""Null elsewhere. It names the country once: a macro copies its arguments wherever it names them, `case` for each
`when`, and planning the race key of a card took longer than building its day."""

MACROS: tuple[str, ...] = (
    """create or replace temp macro off_hour(off) as
       case when regexp_matches(off, '^[0-9]{1,2}:[0-5][0-9]')
            then try_cast(rtrim(left(off, 2), ':') as integer) end""",
    "create or replace temp macro off_minute(off) as substr(off, position(':' in off) + 1, 2)",
    f"""create or replace temp macro hour_24(hour, two_digits, race_date, country) as
       case when hour > 23 then null
            when hour >= 13 then hour
            when race_date >= date '{CLOCK_24_HOURS_FROM}' and two_digits then hour
            else hour + 12 * (hour >= 1)::integer * (hour <= {_LAST_HOUR})::integer end""",
    """create or replace temp macro off_time_of(off, race_date, country) as
       make_time(hour_24(off_hour(trim(off)), trim(off)[3] = ':', race_date, country),
                 try_cast(off_minute(trim(off)) as integer), 0)""",
    """create or replace temp macro off_key_text(off, race_date, country) as
       coalesce(lpad(hour_24(off_hour(trim(off)), trim(off)[3] = ':', race_date, country)::varchar, 2, '0')
                || ':' || off_minute(trim(off)), text_or_null(off))""",
)
"""Macros: text of an off time to TIME, or to the text that goes into the race key."""
