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
    """create or replace temp macro dash_or_null(value) as
       case when trim(value) in ('', '-', '–', '—') then null else trim(value) end""",
    # translate() drops the listed characters; it costs ten replace() calls, so plain names go the short way.
    """create or replace temp macro text_key(value) as
       case when regexp_matches(value, '[^A-Za-z0-9() ]')
            then translate(lower(strip_accents(value)), ' .,''’‘`´"-–_()/&*' || chr(9) || chr(160), '')
            else replace(replace(replace(lower(value), ' ', ''), '(', ''), ')', '') end""",
    # '(GB)' and no suffix are the same country of birth: cards leave it out, dams write it without brackets.
    """create or replace temp macro name_without_gb(value) as
       case when ends_with(value, '(GB)') then left(value, -4) when ends_with(value, ' GB') then left(value, -3)
            else value end""",
    "create or replace temp macro name_key(value) as text_key(name_without_gb(trim(value)))",
    # Without any country: short cards give none, not even the dam by which two horses of one name are told apart.
    """create or replace temp macro bare_name_key(value) as
       text_key(regexp_replace(name_without_gb(trim(value)), ' \\([A-Z]{2,3}\\)$', ''))""",
    # 63 bits of md5, so that a key is a non-negative BIGINT and equal on every machine and DuckDB version.
    "create or replace temp macro hash_key(value) as (md5_number_lower(value) >> 1)::bigint",
    # Key texts come ready made (`name_key`), so that a query over millions of rows computes each once.
    """create or replace temp macro horse_key_from(horse_key_text, dam_key_text, foaling_year) as
       hash_key(horse_key_text || '|' || coalesce(nullif(dam_key_text, ''), foaling_year::varchar, ''))""",
    """create or replace temp macro horse_key_of(horse, dam, age_years, race_date) as
       horse_key_from(name_key(horse), name_key(dam), year(race_date) - age_years)""",
    # Both keys are 63 random bits, so their exclusive or is as good as a third hash, and costs nothing.
    "create or replace temp macro runner_key_of(race_key, horse_key) as xor(race_key, horse_key)",
    "create or replace temp macro label_key(label) as hash_key(nullif(text_key(label), ''))",
)
"""Macros over names. A horse's key falls back from the dam to the foaling year to the bare name."""
