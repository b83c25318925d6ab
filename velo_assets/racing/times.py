"""Race times: `1:54.79`, `4:1.70`, `59.42` to seconds, and back. A dash is no time."""

from __future__ import annotations

MACROS: tuple[str, ...] = (
    # Rounded to a millisecond, so that 60 + 54.79 is 114.79.
    """create or replace temp macro minutes_and_seconds(time_text) as
       round(60 * split_part(time_text, ':', 1)::integer + split_part(time_text, ':', 2)::double, 3)""",
    """create or replace temp macro time_seconds_of(time_text) as
       case when regexp_full_match(trim(time_text), '[0-9]{1,2}:[0-5]?[0-9](\\.[0-9]{1,3})?')
            then minutes_and_seconds(trim(time_text))
            when regexp_full_match(trim(time_text), '[0-9]{2,3}(\\.[0-9]{1,3})?') then trim(time_text)::double end""",
)
"""Macros: text of a time to seconds."""


def time_text(hundredths: int) -> str:
    """Write a time as the export does, minutes without and seconds with a leading zero.

    Args:
        hundredths: time in hundredths of a second.

    Raises:
        ValueError: when the time is negative.
    """
    if hundredths < 0:
        raise ValueError(f"A time can't be negative: {hundredths} hundredths of a second.")
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes}:{rest // 100:02d}.{rest % 100:02d}"
