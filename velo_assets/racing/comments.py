"""Race comments as typed facts: running style, trouble in running, notes, and prices of the betting bracket.

Belongs here: DuckDB macros over the text of one comment, and the phrases they know; docs/comments_lexicon.md explains
them and says how often they are right.
Does not belong here: reading files, and anything that looks at more than one runner.

A comment is a list of clauses, ` - ` between them, in the order of the race; the betting bracket ends it:
`Held up in rear - headway over 2f out - led final furlong (jockey said gelding hung left)(op 25/1 tchd 11/2)`.
Everything here is post-race text, except the prices of the bracket, which were known at the off.
"""

from __future__ import annotations

import re

STYLES = ("made all", "led", "prominent", "mid-division", "held up", "in rear")
"""Running styles from front to back."""

STYLE_SCORES = (1.0, 1.0, 0.75, 0.5, 0.25, 0.0)
"""Score of each of `STYLES`: 1 = led, 0 = in rear. Made all is a led that lasted, so it scores the same early pace."""

STYLE_PHRASES: dict[str, tuple[str, ...]] = {
    "led": (
        "led",
        "disputed",
        "made most",
        "made much",
        "made running",
        "made the running",
        "cut out",
        "set pace",
        "set steady pace",
        "set very steady pace",
        "set modest pace",
        "set strong pace",
        "set slow pace",
        "slight lead",
        "narrow lead",
        "soon in lead",
        "joint leader",
        "joint lead",
        "to lead narrowly",
        "shared lead",
        "dictated",
    ),
    "prominent": (
        "prominent",
        "chased",
        "chasing leader",
        "chasing leading",
        "chasing winner",
        "to chase winner",
        "to chase lead",
        "tracked",
        "tracking",
        "to track lead",
        "pressed",
        "pressing",
        "close up",
        "close 2nd",
        "close 3rd",
        "2nd or 3rd",
        "disputing 2nd",
        "disputing 3rd",
        "soon in 2nd",
        "soon in 3rd",
        "with leader",
        "with winner",
        "with leading",
        "handy",
        "up with pace",
        "up with the pace",
        "up there",
        "in front rank",
        "behind lead",
        "disputed 2nd",
        "disputed 3rd",
        "settled in 2nd",
        "settled in 3rd",
        "settled in 4th",
        "raced in 2nd",
        "raced in 3rd",
        "vied for",
        "left 2nd",
        "left second",
    ),
    "mid-division": (
        "mid-division",
        "mid division",
        "midfield",
        "in touch",
        "in rear of mid-division",
        "rear of mid-division",
        "rear of midfield",
        "off the pace in mid",
        "behind leading group",
        "middle of field",
        "in middle",
    ),
    "held up": (
        "held up",
        "helld up",
        "waited with",
        "dropped out",
        "patiently ridden",
        "steadied in rear",
        "steadied towards rear",
        "steadied and held",
        "dropped in",
        "restrained",
        "confidently ridden",
    ),
    "in rear": (
        "in rear",
        "towards rear",
        "to rear",
        "rear-division",
        "rear division",
        "in the rear",
        "near rear",
        "behind",
        "in last",
        "last pair",
        "last trio",
        "always last",
        "last mostly",
        "mostly last",
        "soon last",
        "tailed off throughout",
        "in final pair",
        "in final trio",
        "in final quartet",
        "detached",
        "in touch in last",
        "in touch in rear",
        "in touch towards rear",
        "soon outpaced",
        "always outpaced",
        "outpaced in rear",
        "off the pace",
        "off pace",
        "well adrift",
        "soon struggling",
    ),
}
"""What each style is called. The first phrase of a clause decides; of several that start together, the longest."""

LATE_MARKERS = (
    r"\b\d\S* out\b",
    r"\bfinal f",
    r"\bfinish\b",
    r"\brun-in\b",
    r"\bstraight\b",
    r"\bhalfway\b",
    r"\bclosing stages\b",
)
"""A clause with one of these is about the later race, unless it says `until` or `to 3f out`: then it starts early."""

TURNING_WORDS = (
    "headway",
    "progress",
    "effort",
    "weakened",
    "lost place",
    "lost touch",
    "lost ground",
    "lost position",
    "improved",
    "rallied",
    "shaken up",
    "no impression",
)
"""A clause that says one of these before any style is past the early part: what follows says nothing of it."""

MADE_ALL = ("ade all", "ade virtually all", "ade nearly all", "ade almost all", "ade every yard")
"""Led throughout (the first letter is left off because it may be a capital)."""

SOON_LED = (
    r"\|soon led(?:$| (?:and|until|narrowly|to|in|at|clear))"
    r"|\b(?:led|to lead) (?:narrowly |briefly )?after (?:1st|2nd|1f|2f|1 1/2f|150yds|100yds)(?:$|[ |])"
)
"""In the first two clauses, joined by `|`: took the lead within two furlongs or fences, so it led."""

SOON_LED_HINTS = ("ed after ", "lead after ", " - soon led")
"""Plain texts, one of which every `SOON_LED` contains: a search for them is many times faster than the expression."""

PAST_EARLY_PART = 0

SLOWLY_AWAY = (
    r"\bslow(?:ly|est)? (?:away|into stride|in stride|to stride|start|leaving|from stalls|out of|to start|to break)",
    r"\bstarted (?:very )?slowly",
    r"\bdwelt",
    r"\bmissed (?:the )?break",
    (
        r"\b(?:awkward(?:ly)?|reared|stumbled|fly-leapt|fly jumped|half-reared|swerved|lunged)"
        r"(?: \w+){0,3} (?:at |as )?(?:the )?(?:start|leaving|stalls)"
    ),
    r"\bleft at (?:the )?start",
    r"\blost (?:several|many|\d+) lengths (?:at )?(?:the )?start",
    r"\blost ground (?:at )?(?:the )?start",
    r"\breluctant to race",
    r"\bwhipped round",
    r"\bslow (?:away|start|into)",
    r"\btardy",
)
"""Lost ground at the start by its own doing."""

HAMPERED = (
    r"\bhampered",
    r"\bimpeded",
    r"\bbumped",
    r"\bchecked",
    r"\bbaulked",
    r"\binterfer",
    r"\bsqueezed out",
    r"\bbadly squeezed",
    r"\bcarried (?:slightly |badly |very |sharply )?(?:left|right|wide|out)\b",
    r"\bclipped heels",
    r"\bcrowded",
    r"\bsnatched up",
    r"\bbarged",
    r"\bbrought to (?:a )?(?:near |virtual )?standstill",
    r"\bbuffeted",
    r"\bjostled",
    r"\btaken wide by",
)
"""Interfered with by another horse, from a bump upwards."""

SHORT_OF_ROOM = (
    r"\bshort of (?:clear )?room",
    r"\b(?:not much|no|little|denied|without|lacked|tight for|for|wanting) room",
    r"\b(?:not|no|denied|without a|denied a) clear run",
    r"\bdenied (?:a |clear |the )*(?:run|gap|passage)",
    r"\bnowhere to go",
    r"\bhemmed in",
    r"\bboxed in",
    r"\bblocked",
    r"\bsqueezed",
    r"\btightened",
    r"\bin (?:a )?pocket",
    r"\bshuffled back",
    r"\bstopped in (?:its |his |her )?run",
    r"\bshut (?:in|off|out)\b",
    r"\bnot get (?:a |the )?(?:clear )?(?:run|gap)",
    r"\bran out of room",
    r"\btight(?:ish)? (?:spot|gap)",
)
"""Had no room to run in."""

WIDE = (r"\bwide(?:$|[^ ]| [^d]| d[^r])", r"\bwidest\b", r"\bforced to (?:race|come) round", r"\bno cover on outer")
"""Went the long way: raced, swung, hung or was taken wide. A `wide draw` is not a wide run."""

MISTAKES = (
    r"\bmistake",
    r"\bblunder",
    r"\bnot (?:always )?fluent",
    r"\b(?:not|did not) jump well",
    r"\bhit (?:the )?(?:\d+(?:st|nd|rd|th)\b|\d+ out|next|last|first|second|third|top|fence|hurdle)",
    r"\bpecked",
    (
        r"\bjumped (?:very |rather |none too )?"
        r"(?:slowly|badly|poorly|awkwardly|big|novicey|sketchily|ponderously|stickily|moderately)"
    ),
    r"\bslow(?:ly)? (?:jump|\d+(?:st|nd|rd|th)\b|\d+ out)",
    (
        r"\b(?:sloppy|untidy|awkward|slow|sketchy|clumsy|scruffy|poor|bad|sprawled|nodded|stumbled)"
        r"(?: on)? (?:landing|jump|leap|at \d+|\d+(?:st|nd|rd|th)\b|\d+ out)"
    ),
    r"\b(?:poor|novicey|sketchy|moderate|sticky) jump",
    r"\bclouted",
    r"\bguessed",
    r"\bghastly",
    r"\bjumping (?:errors|let|not)",
    r"\bfiddled",
    r"\bgot in (?:too )?(?:close|tight)",
    r"\bdragged (?:its |his |her )?(?:hind ?legs|through)",
    r"\bdived at",
    r"\bstraddled",
)
"""An error at an obstacle. Jumping left or right is a habit, not an error, and is not counted."""

NOTE = (
    (
        r"\((?:the )?(?:jockey|trainer|vet|veterinary|rider|owner|starter|steward|apprentice|amateur|represent)"
        r"[^()]* (?:said|reported|stated|explained|could|had|offered|advised|added|confirmed|fined|suspended|banned)"
    ),
    r"\((?:the )?(?:stewards|no explanation|enquiry|inquiry)",
    r"; ?(?:jockey|trainer|vet|stewards)[^()]* (?:said|reported|stated)",
)
"""What jockey, trainer, vet or stewards said, in brackets."""

_FRACTION = r"\d+(?:\.\d+)?/\d+|Evens?|Evs?"

_OPEN_ENDED = ("lead", "leader", "mid", "leading group")
"""Ends of phrases that may go on (`tracked leaders`, `behind leading pair`); every other phrase ends with its word."""


def _any_of(patterns: tuple[str, ...]) -> str:
    return "(?i)(?:" + "|".join(patterns) + ")"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _phrases() -> list[tuple[str, int]]:
    """(phrase, number of its style), longest phrase first: alternatives that start together are tried in this order."""
    pairs = [(phrase, STYLES.index(style) + 1) for style, phrases in STYLE_PHRASES.items() for phrase in phrases]
    pairs += [(word, PAST_EARLY_PART) for word in TURNING_WORDS]
    return sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0]))


def _contains_any(texts: tuple[str, ...]) -> str:
    return " or ".join(f"contains(text, {_literal(text)})" for text in texts)


def _flag_macro(name: str, patterns: tuple[str, ...]) -> str:
    return f"create or replace temp macro {name}(text) as regexp_matches(text, {_literal(_any_of(patterns))})"


def _macros() -> tuple[str, ...]:
    phrases = _phrases()
    alternatives = (re.escape(phrase) + ("" if phrase.endswith(_OPEN_ENDED) else r"\b") for phrase, _ in phrases)
    phrase_pattern = _literal(r"\b(?:" + "|".join(alternatives) + ")")
    phrase_map = ", ".join(f"{_literal(phrase)}: {number}" for phrase, number in phrases)
    styles = "[" + ", ".join(_literal(style) for style in STYLES) + "]"
    scores = "[" + ", ".join(f"{score}::double" for score in STYLE_SCORES) + "]"
    late = _literal("|".join(LATE_MARKERS))
    early_after_all = _literal(r"\b(?:until|(?:to|for) (?:over |just over )?\d)")
    fraction = _literal(_FRACTION)
    return (
        # Numbers of STYLES from 1; PAST_EARLY_PART stops the search, null goes on to the next clause. A map and a list
        # instead of CASE and nullif keep each regular expression single: DuckDB would run it once per branch.
        f"""create or replace temp macro comment_clause_style(clause) as case
            when regexp_matches(clause, {late}) and not regexp_matches(clause, {early_after_all}) then {PAST_EARLY_PART}
            else (map {{{phrase_map}}})[regexp_extract(clause, {phrase_pattern})] end""",
        f"""create or replace temp macro comment_early_style(lowered) as ({styles})[coalesce(
            comment_clause_style(split_part(lowered, ' - ', 1)),
            comment_clause_style(split_part(lowered, ' - ', 2)),
            comment_clause_style(split_part(lowered, ' - ', 3)),
            comment_clause_style(split_part(lowered, ' - ', 4)))]""",
        f"""create or replace temp macro comment_running_style(text) as case
            when {_contains_any(MADE_ALL)} then 'made all'
            when ({_contains_any(SOON_LED_HINTS)}) and regexp_matches(
                lower(split_part(text, ' - ', 1) || '|' || split_part(text, ' - ', 2)), {_literal(SOON_LED)}
            ) then 'led'
            else comment_early_style(lower(text)) end""",
        f"create or replace temp macro running_style_score(style) as ({scores})[list_position({styles}, style)]",
        "create or replace temp macro comment_style_score(text) as running_style_score(comment_running_style(text))",
        _flag_macro("comment_slowly_away", SLOWLY_AWAY),
        _flag_macro("comment_hampered", HAMPERED),
        _flag_macro("comment_short_of_room", SHORT_OF_ROOM),
        _flag_macro("comment_wide", WIDE),
        _flag_macro("comment_mistakes", MISTAKES),
        _flag_macro("comment_has_note", NOTE),
        """create or replace temp macro bracket_number(part) as
            case when try_cast(part as double) > 0 then try_cast(part as double) end""",
        """create or replace temp macro bracket_decimal_odds(fraction) as case
            when starts_with(fraction, 'E') then 2.0::double
            else 1 + bracket_number(split_part(fraction, '/', 1)) / bracket_number(split_part(fraction, '/', 2)) end""",
        f"""create or replace temp macro comment_opening_show(text) as case when contains(text, '(op ')
            then bracket_decimal_odds(regexp_extract(text, '\\(op ({_FRACTION})', 1)) end""",
        f"""create or replace temp macro comment_touched(text) as case when contains(text, 'tchd ')
            then nullif(list_filter(list_transform(
                regexp_extract_all(regexp_extract(text, '\\((?:op [^()]*?)?(tchd [^()]*)\\)\\s*$', 1), {fraction}),
                lambda fraction: bracket_decimal_odds(fraction)), lambda odds: odds is not null), []) end""",
    )


MACROS = _macros()
"""`create or replace temp macro` statements, to be run once per connection, in this order.

- `comment_running_style(text)`: one of `STYLES`, null when the comment does not say.
- `comment_style_score(text)`: 1 = led, 0 = rear. `running_style_score(style)`: the same for a style already found.
- `comment_slowly_away`, `comment_hampered`, `comment_short_of_room`, `comment_wide`, `comment_mistakes`,
  `comment_has_note`: boolean, null for a null text.
- `comment_opening_show(text)`: decimal odds of `(op 25/1 ...)`, null without one. A bracket with `tchd` only means that
  the runner opened at its starting price; that price is not in the text, so null too.
- `comment_touched(text)`: decimal odds, double[], of `tchd 11/2 and 5/1`; null when none.
"""
