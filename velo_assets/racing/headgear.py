"""Headgear: `v`, `tp`, `e/s`, `ht1` to a sorted set of codes and a first-time flag.

Codes: b blinkers, e eye shield or eye cover, h hood, p cheekpieces, t tongue tie, v visor. The digit 1
marks the first time.
"""

from __future__ import annotations

MACROS: tuple[str, ...] = (
    # Eye shield (e/s) and eye cover (e/c) shorten to e, as in the combinations (eb, et).
    """create or replace temp macro headgear_codes(headgear) as
       array_to_string(list_sort(list_distinct(regexp_extract_all(
           regexp_replace(lower(headgear), 'e/[sc]', 'e', 'g'), '[a-z]'))), '')""",
    "create or replace temp macro headgear_first_time_of(headgear) as contains(headgear, '1')",
)
"""Macros: text of the headgear to sorted codes and a first-time flag."""
