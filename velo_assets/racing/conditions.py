"""Race conditions: class, age band, rating band, sex restriction, type, handicap; and numbers written as text."""

from __future__ import annotations

_HANDICAP = "\\b(handicap|h''cap|hcap|nursery)\\b|讓賽"

MACROS: tuple[str, ...] = (
    # '6.0' is how a spreadsheet leaves a whole number; signs and letters are not numbers here.
    (
        "create or replace temp macro whole_number(value) as "
        "case when regexp_full_match(trim(value), '[0-9]{1,9}(\\.0+)?') then trim(value)::double::integer end"
    ),
    # Coupled entries carry a letter (1A); 0 is no number.
    (
        "create or replace temp macro saddle_number_of(num) as "
        "nullif(try_cast(regexp_extract(trim(num), '^([0-9]{1,3})', 1) as integer), 0)"
    ),
    # 250 is far above any handicap mark ever given; one file rates a horse 775.
    (
        "create or replace temp macro rating_of(rating) as "
        "case when whole_number(rating) between 1 and 250 then whole_number(rating) end"
    ),
    (
        "create or replace temp macro race_class_of(class) as "
        "try_cast(regexp_extract(lower(class), '^(?:class )?([1-7])$', 1) as integer)"
    ),
    (
        "create or replace temp macro band_low(band) as "
        "try_cast(regexp_extract(band, '^([0-9]{1,3})-([0-9]{1,3})$', 1) as integer)"
    ),
    (
        "create or replace temp macro band_high(band) as "
        "try_cast(regexp_extract(band, '^([0-9]{1,3})-([0-9]{1,3})$', 2) as integer)"
    ),
    (
        "create or replace temp macro age_low(band) as "
        "try_cast(regexp_extract(lower(band), '^([0-9]{1,2})(?:-([0-9]{1,2}))?yo(\\+)?$', 1) as integer)"
    ),
    """create or replace temp macro age_high(band) as
       case when ends_with(band, '+') then null
            else coalesce(try_cast(regexp_extract(lower(band), '^([0-9]{1,2})-([0-9]{1,2})yo$', 2) as integer),
                          age_low(band)) end""",
    # The 2020 layout leaves the type of flat races blank. Chasemore Farm and Purchase are no chases.
    """create or replace temp macro race_type_of(type, race_name) as
       case lower(trim(type)) when 'flat' then 'Flat' when 'hurdle' then 'Hurdle' when 'chase' then 'Chase'
            when 'nh flat' then 'NH Flat' when 'bumper' then 'NH Flat'
            else case when regexp_matches(lower(race_name), 'hurdle') then 'Hurdle'
                      when regexp_matches(lower(race_name), '\\b(steeple)?chase\\b') then 'Chase'
                      when regexp_matches(lower(race_name), 'nh flat|national hunt flat|inh flat|bumper') then 'NH Flat'
                      else coalesce(nullif(trim(type), ''), 'Flat') end end""",
    """create or replace temp macro race_code_of(race_type, surface) as
       case race_type when 'Hurdle' then 'hurdle' when 'Chase' then 'chase' when 'NH Flat' then 'bumper'
            else case when surface = 'all-weather' then 'all-weather' else 'flat' end end""",
    f"create or replace temp macro is_handicap_name(race_name) as regexp_matches(lower(race_name), '{_HANDICAP}')",
    """create or replace temp macro money_of(value) as
       case when regexp_full_match(regexp_replace(trim(value), '[€£$¥, ]', '', 'g'), '[0-9]+(\\.[0-9]+)?')
            then regexp_replace(trim(value), '[€£$¥, ]', '', 'g')::double end""",
)
"""Macros: texts of race conditions to typed values."""
