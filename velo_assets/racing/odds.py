"""Starting prices as the export writes them: fractions, evens, favourite marks, decimal odds.

Accepted: `7/2`, `11/4F`, `7/2J`, `5/1C`, `Evs`, `EvensF`, unreduced fractions, and decimal odds in their own column.
A bare `F` carries a mark and no price. Zero, negative and infinite odds are no price. What a price is worth
(bookmaker SP or tote dividend) and de-vigging live elsewhere.
"""

from __future__ import annotations

MACROS: tuple[str, ...] = (
    "create or replace temp macro sp_bare(sp) as rtrim(upper(trim(sp)), 'FJC ')",
    """create or replace temp macro sp_decimal(sp) as
       case when sp_bare(sp) in ('EVS', 'EVENS', 'EVEN', 'EVN') then 2.0::double
            when regexp_full_match(sp_bare(sp), '[0-9]{1,5}(\\.[0-9]{1,3})?/[0-9]{1,4}')
            then 1.0 + split_part(sp_bare(sp), '/', 1)::double / nullif(split_part(sp_bare(sp), '/', 2)::double, 0)
            end""",
    # A price pays something: 0/1 is not odds.
    """create or replace temp macro sp_odds(sp) as
       case when sp_decimal(sp) > 1 then sp_decimal(sp) end""",
    """create or replace temp macro decimal_odds_of(price) as
       case when regexp_full_match(trim(price), '[0-9]{1,6}(\\.[0-9]+)?') and trim(price)::double > 1
            then trim(price)::double end""",
    """create or replace temp macro sp_favourite_mark(sp) as
       nullif(regexp_extract(upper(trim(sp)), '[^A-Z]([FJC]{1,2})$|^(?:EVENS?|EVS|EVN)([FJC]{1,2})$|^([FJC]{1,2})$', 1)
           || regexp_extract(upper(trim(sp)), '^(?:EVENS?|EVS|EVN)([FJC]{1,2})$', 1)
           || regexp_extract(upper(trim(sp)), '^([FJC]{1,2})$', 1), '')""",
    # Blank is missing; a favourite mark alone says nothing wrong; anything else without a price is unreadable.
    """create or replace temp macro sp_unreadable(sp) as
       dash_or_null(sp) is not null and sp_bare(sp) <> '' and sp_odds(sp) is null""",
)
"""Macros: text of a starting price to decimal odds and favourite mark."""
