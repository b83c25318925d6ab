"""Finishing positions and the codes of those who did not finish; lengths beaten.

A position may exceed the declared number of runners and is kept; 0 is no position. An unknown code becomes outcome
`unknown` and the text stays beside it: codes are kept, not guessed.
"""

from __future__ import annotations

OUTCOMES: dict[str, str] = {
    "PU": "pulled up",
    "F": "fell",
    "UR": "unseated",
    "BD": "brought down",
    "RR": "refused",
    "REF": "refused",
    "RO": "ran out",
    "SU": "slipped up",
    "DSQ": "disqualified",
    "CO": "carried out",
    "LFT": "left",
}
"""Codes of the export. RR is 'refused to race', REF 'refused at a fence'."""

LENGTHS: dict[str, float] = {"DHT": 0.0, "NSE": 0.05, "SHD": 0.1, "HD": 0.2, "SNK": 0.25, "NK": 0.3}
"""Short margins in words, in lengths, as the form books convert them."""

_OUTCOME_CASES = " ".join(f"when '{code}' then '{outcome}'" for code, outcome in OUTCOMES.items())
_LENGTH_CASES = " ".join(f"when '{word}' then {lengths}" for word, lengths in LENGTHS.items())

MACROS: tuple[str, ...] = (
    """create or replace temp macro position_of(pos) as
       case when regexp_full_match(trim(pos), '[0-9]{1,2}(\\.0+)?') then nullif(trim(pos)::double::integer, 0) end""",
    f"""create or replace temp macro outcome_of(pos) as
       case when position_of(pos) is not null then 'finished'
            else case upper(trim(pos)) {_OUTCOME_CASES} else 'unknown' end end""",
    f"""create or replace temp macro lengths_of(lengths) as
       case when regexp_full_match(trim(lengths), '[0-9]{{0,3}}(\\.[0-9]+)?') then try_cast(trim(lengths) as double)
            else case upper(trim(lengths)) {_LENGTH_CASES} end end""",
)
"""Macros: text of a position to number and outcome, text of a margin to lengths."""
