"""Distances: `5½f`, `1m2½f`, `2m`, `2m4f56y` to furlongs and metres, and back.

Here: the text of a distance. The text is rounded to half a furlong by the export; metres measured by a course
(sidecar files, the 2020 and 2025 layouts) are better and are preferred by core.races.
"""

from __future__ import annotations

METRES_PER_FURLONG = 201.168
"""220 yards of 0.9144 m."""

FURLONGS_PER_MILE = 8
YARDS_PER_FURLONG = 220.0

_PATTERN = "^(?:([0-9]{1,2})m)?(?:([0-9]{1,2})?([¼½¾])?f)?(?:([0-9]{1,3})y(?:ds?)?)?$"

MACROS: tuple[str, ...] = (
    "create or replace temp macro distance_bare(distance) as replace(lower(trim(distance)), ' ', '')",
    f"""create or replace temp macro distance_part(distance, place) as
       coalesce(try_cast(regexp_extract(distance_bare(distance), '{_PATTERN}', place) as integer), 0)""",
    f"""create or replace temp macro distance_fraction(distance) as
       case regexp_extract(distance_bare(distance), '{_PATTERN}', 3)
            when '¼' then 0.25 when '½' then 0.5 when '¾' then 0.75 else 0 end""",
    f"""create or replace temp macro distance_furlongs_of(distance) as
       case when regexp_matches(distance_bare(distance), '{_PATTERN}')
            then nullif({FURLONGS_PER_MILE} * distance_part(distance, 1) + distance_part(distance, 2)
                        + distance_fraction(distance) + distance_part(distance, 4) / {YARDS_PER_FURLONG}, 0)::double
            end""",
    # Metres or yards that somebody measured; features divide by them, and no race is of length 0.
    """create or replace temp macro measured_distance(value) as
       case when regexp_full_match(trim(value), '[0-9]{1,5}(\\.[0-9]+)?') then nullif(trim(value)::double, 0) end""",
    f"create or replace temp macro furlongs_to_metres(furlongs) as furlongs * {METRES_PER_FURLONG}",
    f"create or replace temp macro metres_to_furlongs(metres) as metres / {METRES_PER_FURLONG}",
)
"""Macros: text of a distance to furlongs; text of a number to metres or yards; furlongs to metres and back."""


def distance_text(half_furlongs: int) -> str:
    """Write a distance as the export does: miles, furlongs, a half.

    Args:
        half_furlongs: distance in half furlongs, 1 or more (5 furlongs = 10).

    Raises:
        ValueError: when the distance is below half a furlong.
    """
    if half_furlongs < 1:
        raise ValueError(f"A race is at least half a furlong long, not {half_furlongs} half furlongs.")
    miles, rest = divmod(half_furlongs, 2 * FURLONGS_PER_MILE)
    furlongs, half = divmod(rest, 2)
    tail = f"{furlongs or ''}{'½' if half else ''}f" if rest else ""
    return (f"{miles}m" if miles else "") + tail
