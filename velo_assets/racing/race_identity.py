"""The race key: date, course and off time. `race_id` is reused by the export and only a reference."""

from __future__ import annotations

MACROS: tuple[str, ...] = (
    # Without an off time the id, then the name, keep two races of a meeting apart.
    """create or replace temp macro
       race_key_from(race_date, course_key_text, country, off_key_text, race_id, race_name) as
       hash_key(race_date::varchar || '|' || course_key_text || '|' || country || '|'
                || coalesce(off_key_text, 'id ' || text_or_null(race_id), 'name ' || text_key(race_name), ''))""",
    """create or replace temp macro race_key_of(race_date, course, region, off, race_id, race_name) as
       race_key_from(race_date, text_key(course_bare(course)), course_country(course, region),
                     off_key_text(off, race_date, course_country(course, region)), race_id, race_name)""",
)
"""Macros: columns of a result row or a card to the race key."""
