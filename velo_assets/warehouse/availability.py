"""When every column becomes known: the contract behind the leak proofs.

Belongs here: the four moments, the contract of the core columns, and the refusal of a matrix column that comes later
than the decision. Does not belong here: how values flow through SQL (dataflow/), what a feature inherits
(lineage.py), what counts as a leak in a SQL file (lint.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum


class Known(IntEnum):
    """When a value becomes known, in order of time."""

    DECLARATION = 0
    """With the final declarations, the day before or earlier. All of earlier days is known by then too."""
    MORNING = 1
    """On the morning of the race: forecast prices, body weight, going sticks."""
    OFF = 2
    """When the race starts: SP and BSP."""
    RESULT = 3
    """After the race."""

    @property
    def word(self) -> str:
        """The moment as the contract writes it."""
        return self.name.lower()


DECISION_TIME = Known.MORNING
"""When bets are chosen: the latest moment at which a feature may become known."""


class LateColumnError(ValueError):
    """A column becomes known only after the decision that wants to use it."""


class UndeclaredColumnError(KeyError):
    """A core column is missing from the contract."""


KEY_COLUMNS = frozenset(
    {"race_date", "race_key", "runner_key", "horse_key", "race_label", "price_kind", "call_number", "jurisdiction"}
)
"""Columns that name a row and tell nothing of how the race went, in whichever table they stand."""

_RACES = dict.fromkeys(
    (
        *("race_key", "race_date", "race_label", "course", "country", "surface", "off_time", "off_text", "race_id"),
        *("race_name", "race_type", "code", "race_class", "pattern", "rating_band_low", "rating_band_high", "age_band"),
        *("min_age_years", "max_age_years", "sex_restriction", "distance_text", "distance_furlongs", "distance_m"),
        *("going", "going_group", "going_index", "is_handicap", "declared_runners", "field_size"),
    ),
    Known.DECLARATION,
) | {"rail": Known.MORNING, "stage": Known.RESULT, "source_file": Known.RESULT}
# `stage` and `source_file` tell whether the result has arrived: a feature that reads them would differ between card and
# result.

_ENTRIES = dict.fromkeys(
    (
        *("runner_key", "race_key", "race_date", "horse_key", "horse", "saddle_number", "stall", "age_years", "sex"),
        *("weight_lb", "headgear", "headgear_first_time", "jockey", "jockey_key", "trainer", "trainer_key", "owner"),
        *("owner_key", "official_rating", "sire", "dam", "damsire", "card_rating", "card_speed_rating"),
    ),
    Known.DECLARATION,
) | {"body_weight_lb": Known.MORNING, "stage": Known.RESULT, "source_file": Known.RESULT}

_ROW_KEYS = dict.fromkeys(("runner_key", "race_key", "race_date"), Known.DECLARATION)

_RESULTS = (
    _ROW_KEYS
    | dict.fromkeys(
        (
            *("position", "outcome", "won", "win_share", "dead_heat_runners", "beaten_lengths", "margin_lengths"),
            *("time_seconds", "racing_post_rating", "top_speed", "prize_won", "running_style", "style_score"),
            *("trouble_slowly_away", "trouble_hampered", "trouble_short_of_room", "trouble_wide", "trouble_mistakes"),
            *("has_jockey_or_steward_note", "comment", "position_text", "source_file"),
        ),
        Known.RESULT,
    )
    | {"horse_key": Known.DECLARATION}
)

_PRICES = (
    _ROW_KEYS
    | dict.fromkeys(("price_kind", "jurisdiction"), Known.DECLARATION)
    | dict.fromkeys(
        ("decimal_odds", "favourite_mark", "known_at", "book_percent", "book_complete", "source", "price_text"),
        Known.OFF,
    )
)

_SECTIONALS = (
    _ROW_KEYS
    | {"call_number": Known.DECLARATION}
    | dict.fromkeys(
        ("calls", "position_at_call", "section_seconds", "leader_elapsed_seconds", "leader_section_seconds"),
        Known.RESULT,
    )
)

CORE_COLUMNS: Mapping[str, Mapping[str, Known]] = {
    "core/races": _RACES,
    "core/entries": _ENTRIES,
    "core/results": _RESULTS,
    "core/prices": _PRICES,
    "core/sectionals": _SECTIONALS,
}
"""The contract: core table to column to the moment it becomes known."""


def known_at(table: str, column: str) -> Known:
    """When a column of a SQL table becomes known, for the race of its own row.

    Args:
        table: `schema/table`.
        column: column name.

    Returns:
        The declared moment for core tables, the inherited one for features, RESULT for all others.

    Raises:
        UndeclaredColumnError: a core column without a declaration; add it to CORE_COLUMNS.
    """
    if table in CORE_COLUMNS:
        declared = CORE_COLUMNS[table].get(column)
        if declared is None and column in KEY_COLUMNS:
            declared = Known.DECLARATION
        if declared is None:
            raise UndeclaredColumnError(
                f"{table}.{column} does not say when it becomes known: add it to CORE_COLUMNS in {__name__}."
            )
        return declared
    if column in KEY_COLUMNS:
        return Known.DECLARATION
    if table.startswith("features/"):
        from velo_assets.warehouse.lineage import availability
        from velo_assets.warehouse.sql_table import SqlTableError

        try:
            inherited = availability(table).get(column)
        except SqlTableError:
            return Known.RESULT
        return inherited.known if inherited else Known.RESULT
    return Known.RESULT


def assert_matrix_available(
    columns: Iterable[str], decision_time: Known, *, table: str = "features/runner_features"
) -> None:
    """Refuse matrix columns that become known after the decision.

    Args:
        columns: matrix columns that a model wants.
        decision_time: when the bet is chosen.
        table: the matrix.

    Raises:
        LateColumnError: names every late column, when it becomes known and the inputs that make it late.
    """
    from velo_assets.warehouse.lineage import availability

    moments = availability(table)
    unknown = [column for column in columns if column not in moments]
    if unknown:
        raise LateColumnError(
            f"{table} has no column {', '.join(sorted(unknown))}, so nobody can say when it is known."
        )
    late = {column: moments[column] for column in columns if moments[column].known > decision_time}
    if late:
        details = "; ".join(
            f"{column} is known at {moment.known.word} (it reads {', '.join(moment.because)})"
            for column, moment in sorted(late.items())
        )
        raise LateColumnError(
            f"{table}: {len(late)} column(s) come after the decision at {decision_time.word}: {details}. "
            "Use values of earlier days, or decide later."
        )
