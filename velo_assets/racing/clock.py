"""Off times: a clock without AM/PM until 2025-10-15, 24-hour from then on.

Sure: hours of 13 and more; any time from the switch on; in GB, Ireland and Hong Kong 1:00-10:59 is afternoon or
evening and 11:00-12:59 is late morning or midday, as no race there starts before 11. Elsewhere a time below 13:00 is
unsure: the day is all we know, and the text as it came goes into the race key.
"""

from __future__ import annotations

CLOCK_24_HOURS_FROM = "2025-10-15"
"""First race date whose files write a 24-hour clock."""

AFTERNOON_COUNTRIES = ("GB", "IRE", "HK")
"""Countries whose racing never starts between 1:00 and 10:59 in the morning."""

_COUNTRIES = ", ".join(f"'{country}'" for country in AFTERNOON_COUNTRIES)

MACROS: tuple[str, ...] = (
    (
        "create or replace temp macro off_hour(off) as "
        "case when regexp_matches(trim(off), '^[0-9]{1,2}:[0-5][0-9]') then split_part(trim(off), ':', 1)::integer end"
    ),
    "create or replace temp macro off_minute(off) as left(split_part(trim(off), ':', 2), 2)",
    f"""create or replace temp macro off_hour_24(off, race_date, country) as
       case when off_hour(off) > 23 then null
            when off_hour(off) >= 13 then off_hour(off)
            when race_date >= date '{CLOCK_24_HOURS_FROM}' and position(':' in trim(off)) = 3 then off_hour(off)
            when country in ({_COUNTRIES}) then off_hour(off) + case when off_hour(off) between 1 and 10 then 12 else 0 end
            end""",
    """create or replace temp macro off_time_of(off, race_date, country) as
       make_time(off_hour_24(off, race_date, country), off_minute(off)::integer, 0)""",
    """create or replace temp macro off_key_text(off, race_date, country) as
       coalesce(lpad(off_hour_24(off, race_date, country)::varchar, 2, '0') || ':' || off_minute(off), trim(off), '')""",
)
"""Macros: text of an off time to TIME, or to the text that goes into the race key."""
