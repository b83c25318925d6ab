"""Weights carried: stones-pounds (`9-2`) or plain pounds (`128`) to pounds, and back."""

from __future__ import annotations

POUNDS_PER_STONE = 14

MACROS: tuple[str, ...] = (
    # 13-15 would be 14-1: pounds of 14 and more are a typing error, not a weight.
    f"""create or replace temp macro weight_lb_of(weight) as
       case when regexp_full_match(trim(weight), '[0-9]{{1,2}}-([0-9]|0[0-9]|1[0-3])')
            then split_part(trim(weight), '-', 1)::integer * {POUNDS_PER_STONE}
                 + split_part(trim(weight), '-', 2)::integer
            when regexp_full_match(trim(weight), '[0-9]{{2,3}}(\\.0+)?') then trim(weight)::double::integer end""",
)
"""Macros: text of a weight to pounds."""


def weight_text(pounds: int) -> str:
    """Write pounds as the export does, `stones-pounds`.

    Raises:
        ValueError: when the weight is negative.
    """
    if pounds < 0:
        raise ValueError(f"A weight can't be negative: {pounds} lb.")
    stones, rest = divmod(pounds, POUNDS_PER_STONE)
    return f"{stones}-{rest}"
