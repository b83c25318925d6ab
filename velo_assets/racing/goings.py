"""Goings: the state of the ground in words to a group and an ordinal index.

The index runs from -2 (firm) over 0 (good, standard) to +3 (heavy). Artificial and dirt surfaces have their own groups.
Only the first statement counts: `Good To Soft (Soft in places)` is good to soft.
"""

from __future__ import annotations

TURF: dict[str, tuple[str, float]] = {
    "hard": ("firm", -2.0),
    "firm": ("firm", -2.0),
    "good to firm": ("firm", -1.0),
    "good": ("good", 0.0),
    "good to yielding": ("good", 0.5),
    "good to soft": ("good", 1.0),
    "yielding": ("soft", 1.0),
    "yielding to soft": ("soft", 1.5),
    "soft": ("soft", 2.0),
    "soft to heavy": ("heavy", 2.5),
    "very soft": ("heavy", 2.5),
    "holding": ("heavy", 2.5),
    "heavy": ("heavy", 3.0),
}
"""Turf goings: words to (group, index)."""

ALL_WEATHER: dict[str, tuple[str, float]] = {
    "fast": ("aw-fast", -1.0),
    "firm": ("aw-fast", -1.0),
    "good to firm": ("aw-fast", -0.5),
    "wet fast": ("aw-fast", -1.0),
    "standard to fast": ("aw-fast", -0.5),
    "good": ("aw-standard", 0.0),
    "standard": ("aw-standard", 0.0),
    "sealed": ("aw-standard", 0.0),
    "standard to slow": ("aw-slow", 0.5),
    "slow": ("aw-slow", 1.0),
    "wet slow": ("aw-slow", 1.0),
    "muddy": ("aw-slow", 2.0),
    "sloppy": ("aw-slow", 2.0),
}
"""Goings of artificial and dirt surfaces. Hong Kong calls its dirt `Good` too."""

DIRT_WORDS = tuple(word for word in ALL_WEATHER if word not in TURF)
"""Words that no turf course uses: they tell the surface where the course name does not."""


def _looked_up(table: dict[str, tuple[str, float]], item: int) -> str:
    # Lists, not `case`, which would copy the words of the going for each `when` and take its time to plan.
    return f"{[entry[item] for entry in table.values()]}[list_position({list(table)}, going_words(going))]"


_DIRT = ", ".join(f"'{word}'" for word in DIRT_WORDS)

MACROS: tuple[str, ...] = (
    (
        "create or replace temp macro going_words(going) as "
        "trim(replace(split_part(split_part(lower(going), '(', 1), ',', 1), '-', ' '))"
    ),
    f"create or replace temp macro going_is_dirt(going) as coalesce(going_words(going) in ({_DIRT}), false)",
    f"""create or replace temp macro going_group_of(going, surface) as
       case when surface = 'all-weather' then {_looked_up(ALL_WEATHER, 0)} else {_looked_up(TURF, 0)} end""",
    f"""create or replace temp macro going_index_of(going, surface) as
       case when surface = 'all-weather' then {_looked_up(ALL_WEATHER, 1)} else {_looked_up(TURF, 1)} end::double""",
)
"""Macros: words of the going to group and index, given the surface ('turf' or 'all-weather')."""
