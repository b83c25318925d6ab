"""Yearly partitions, and the window of race dates that a run covers.

Yearly, because Dagster writes one event per partition and asset: eleven years of days cost 35 s of bookkeeping each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import dagster as dg

from velo_assets.settings import FIRST_YEAR

YEARLY = dg.TimeWindowPartitionsDefinition(
    start=str(FIRST_YEAR), cron_schedule="0 0 1 1 *", fmt="%Y", end_offset=1, timezone="UTC"
)
"""One partition a year, the running year included."""


@dataclass(frozen=True)
class Window:
    """The years of a run, and their first and last day.

    Attributes:
        years: partition keys as numbers, ascending, without gaps.
    """

    years: tuple[int, ...]

    @property
    def start(self) -> date:
        """First race date, 1 January of the first year."""
        return date(self.years[0], 1, 1)

    @property
    def end(self) -> date:
        """Last race date, 31 December of the last year."""
        return date(self.years[-1], 12, 31)


def window_of(context: dg.AssetExecutionContext) -> Window:
    """The window of a partitioned run: one year, or all years of a single-run backfill.

    Raises:
        ValueError: the partitions of the run have gaps; rows between them would be deleted and not rebuilt.
    """
    years = tuple(sorted(int(key) for key in context.partition_keys))
    if years != tuple(range(years[0], years[-1] + 1)):
        raise ValueError(f"The years of one run must be consecutive, got {years}: launch one backfill per stretch.")
    return Window(years)


def range_tags(first_year: int, last_year: int) -> dict[str, str]:
    """Run tags that select the partitions from `first_year` to `last_year`."""
    return {
        "dagster/asset_partition_range_start": str(first_year),
        "dagster/asset_partition_range_end": str(last_year),
    }
