"""Courses: `Kempton (AW)`, `Sha Tin (AW) (HK)`, `kempton-aw` to name, country and surface.

The last bracket of two or three capitals is the country; no bracket means GB. The titled layout of 2020 writes slugs
and drops the country, so Irish courses are known by name (none shares its name with a British one).
"""

from __future__ import annotations

IRISH_COURSES = [
    "ballinrobe",
    "bellewstown",
    "clonmel",
    "cork",
    "curragh",
    "thecurragh",
    "downroyal",
    "downpatrick",
    "dundalk",
    "fairyhouse",
    "galway",
    "gowranpark",
    "kilbeggan",
    "killarney",
    "laytown",
    "leopardstown",
    "limerick",
    "listowel",
    "naas",
    "navan",
    "punchestown",
    "roscommon",
    "sligo",
    "thurles",
    "tipperary",
    "tramore",
    "wexford",
    "wexfordrh",
]
"""Irish courses by their key, for files that drop the country."""

_IRISH = ", ".join(f"'{course}'" for course in IRISH_COURSES)

MACROS: tuple[str, ...] = (
    (
        "create or replace temp macro course_suffix(course) as "
        "nullif(regexp_extract(trim(course), '\\(([A-Z]{2,3})\\)$', 1), '')"
    ),
    """create or replace temp macro course_name_raw(course) as
       trim(regexp_replace(trim(course), '( ?\\([A-Z]{2,3}\\))+$|-aw$', ''))""",
    """create or replace temp macro course_country(course, region) as
       case upper(coalesce(case when course_suffix(course) not in ('AW', 'RH') then course_suffix(course) end, ''))
            when '' then case when nullif(trim(region), '') is not null
                              then case upper(trim(region)) when 'UK' then 'GB' when 'IE' then 'IRE' else upper(trim(region)) end
                              when text_key(course_name_raw(course)) in (IRISH) then 'IRE' else 'GB' end
            else course_suffix(course) end""".replace("IRISH", _IRISH),
    # Slugs (lower case, hyphens) are written out as words; other spellings stay as they came.
    """create or replace temp macro course_name(course) as
       case when regexp_full_match(course_name_raw(course), '[a-z-]+')
            then array_to_string(list_transform(string_split(course_name_raw(course), '-'),
                                                lambda word: upper(left(word, 1)) || substr(word, 2)), ' ')
            else course_name_raw(course) end""",
    (
        "create or replace temp macro course_is_all_weather(course) as "
        "contains(course, '(AW)') or ends_with(trim(course), '-aw')"
    ),
    """create or replace temp macro course_key_text(course, region) as
       text_key(course_name_raw(course)) || '|' || course_country(course, region)""",
)
"""Macros: text of a course to name, country, surface and the text that goes into the race key."""
