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
    # Most courses have no bracket, and asking for one is cheaper than a regular expression.
    """create or replace temp macro course_suffix(course) as
       case when contains(course, '(') then nullif(regexp_extract(course, '\\(([A-Z]{2,3})\\)\\s*$', 1), '') end""",
    """create or replace temp macro course_bare(course) as
       case when contains(course, '(')
            then trim(replace(replace(course, '(AW)', ''), '(' || coalesce(course_suffix(course), '') || ')', ''))
            when ends_with(course, '-aw') then left(course, -3)
            else trim(course) end""",
    """create or replace temp macro country_from(suffix, region, course_key_text) as
       case when suffix not in ('AW', 'RH') then suffix
            when nullif(trim(region), '') is not null
            then case upper(trim(region)) when 'UK' then 'GB' when 'IE' then 'IRE' else upper(trim(region)) end
            when course_key_text in (IRISH) then 'IRE'
            else 'GB' end""".replace("IRISH", _IRISH),
    """create or replace temp macro course_country(course, region) as
       country_from(course_suffix(course), region, text_key(course_bare(course)))""",
    # Slugs (lower case, hyphens) are written out as words; other spellings stay as they came.
    """create or replace temp macro course_name(course) as
       case when regexp_full_match(course_bare(course), '[a-z-]+')
            then array_to_string(list_transform(string_split(course_bare(course), '-'),
                                                lambda word: upper(left(word, 1)) || substr(word, 2)), ' ')
            else course_bare(course) end""",
    """create or replace temp macro course_is_all_weather(course) as
       contains(course, '(AW)') or ends_with(trim(course), '-aw')""",
)
"""Macros: text of a course to name, country and surface."""
