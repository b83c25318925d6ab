"""Refusals of the models: look-ahead, missing columns, too few races, no prices.

Belongs here: the errors that fits and predictions raise, and the small checks that raise them. Not here: fitting.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import polars as pl


class LookAheadError(ValueError):
    """A fit was offered races that are not strictly earlier than its cutoff less the embargo."""


class MissingFeatureError(ValueError):
    """A column that the model needs is not in the frame."""


class TooFewRacesError(ValueError):
    """There are fewer usable races than the fit needs."""


class NoPricesError(ValueError):
    """No race of the frame has a complete set of market probabilities."""


def require_earlier(frame: pl.DataFrame, cutoff: date, embargo_days: int, what: str) -> None:
    """Refuse fit data that reach the cutoff or the embargo before it.

    Args:
        frame: rows offered to a fit, with `race_date`.
        cutoff: first day of the scored fold.
        embargo_days: days before the cutoff that a fit must not see.
        what: name of the fit, for the message.

    Raises:
        LookAheadError: some `race_date` is on or after `cutoff - embargo_days`.
    """
    if frame.is_empty():
        return
    limit = cutoff - timedelta(days=embargo_days)
    latest = frame.get_column("race_date").max()
    if isinstance(latest, date) and latest >= limit:
        raise LookAheadError(
            f"{what}: fit data reach {latest}, but the fold with cutoff {cutoff} and {embargo_days} embargo day(s) may "
            f"only learn from races before {limit}; filter the frame on race_date < {limit}"
        )


def require_columns(frame: pl.DataFrame, columns: Iterable[str], what: str) -> None:
    """Refuse a frame that lacks columns.

    Args:
        frame: rows offered.
        columns: names needed.
        what: name of the step, for the message.

    Raises:
        MissingFeatureError: names every missing column.
    """
    present = set(frame.columns)
    missing = [column for column in columns if column not in present]
    if missing:
        raise MissingFeatureError(
            f"{what}: the frame lacks {len(missing)} column(s): {', '.join(missing)}; rebuild the matrix, or train "
            "again without them"
        )


def require_races(count: int, needed: int, what: str) -> None:
    """Refuse a fit on too few races.

    Args:
        count: usable races (settled, with what the fit needs).
        needed: the least number.
        what: name of the fit, for the message.

    Raises:
        TooFewRacesError: `count < needed`.
    """
    if count < needed:
        raise TooFewRacesError(f"{what}: {count} usable races, at least {needed} needed; add earlier years of results")


def require_not_trained_on(frame: pl.DataFrame, cutoff: date, what: str) -> None:
    """Refuse to score rows before the cutoff.

    Args:
        frame: rows to be scored, with `race_date`.
        cutoff: first day the model may score.
        what: name of the model, for the message.

    Raises:
        LookAheadError: the frame holds a row with `race_date < cutoff`.
    """
    first = frame.get_column("race_date").min() if frame.height else None
    if isinstance(first, date) and first < cutoff:
        raise LookAheadError(
            f"{what}: asked to score races of {first}, but the model with cutoff {cutoff} may have seen them"
        )
