"""Who is who: cautious keys for races, runners, horses and connections.

Here: the text that goes into a key and the hash made of it, as DuckDB macros. A key forgives case, accents, spaces and
punctuation and nothing else: titles, initials and country suffixes stay, so two labels are never merged by hope.
Not here: looking for two horses behind one key (velo_assets/ingestion/quality.py counts those).
"""

from __future__ import annotations

MACROS: tuple[str, ...] = (
    # Blank and white space only are missing; everything else is text as it came.
    "create or replace temp macro text_or_null(value) as nullif(trim(value), '')",
    # A dash (ASCII or en/em dash) is how the export writes 'none' in numeric columns.
    (
        "create or replace temp macro dash_or_null(value) as "
        "case when trim(value) in ('', '-', '–', '—') then null else trim(value) end"
    ),
    # translate() drops the listed characters and is five times faster than a Unicode regular expression.
    """create or replace temp macro text_key(value) as
       translate(lower(strip_accents(value)), ' .,''’‘`´"-–_()/&*' || chr(9) || chr(160), '')""",
    # '(GB)' and no suffix are the same country of birth: cards leave it out, dams write it without brackets.
    """create or replace temp macro name_key(value) as
       text_key(case when ends_with(trim(value), '(GB)') then left(trim(value), -4)
                     when ends_with(trim(value), ' GB') then left(trim(value), -3)
                     else value end)""",
    # 63 bits of md5, so that a key is a non-negative BIGINT and equal on every machine and DuckDB version.
    "create or replace temp macro hash_key(value) as (md5_number_lower(value) >> 1)::bigint",
    """create or replace temp macro horse_key_of(horse, dam, age_years, race_date) as
       hash_key(name_key(horse) || '|' || coalesce(nullif(name_key(dam), ''),
                                                   (year(race_date) - age_years)::varchar, ''))""",
    "create or replace temp macro runner_key_of(race_key, horse_key) as hash_key(race_key || '|' || horse_key)",
    "create or replace temp macro label_key(label) as hash_key(nullif(text_key(label), ''))",
)
"""Macros over names. `horse_key_of` falls back from the dam to the foaling year to the bare name."""
