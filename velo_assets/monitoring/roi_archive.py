"""The ROI archive: what every strategy returned, pattern by pattern, with intervals and the luck to be expected.

Belongs here: which patterns are kept and how a bet gets its pattern. Does not belong here: intervals (betting.metrics),
the tags' rules (betting.error_map).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from velo_assets.betting.error_map import TAGS, Tag, available_tags
from velo_assets.betting.metrics import breakdown, counted
from velo_assets.settings import PRICE_REGIMES

PATTERNS = ("strategy", "regime", "course", "trainer", "tag")
"""Ways the bets of a strategy are cut."""

LEAST_BETS = 30
"""A smaller group says nothing: its interval is wider than +-100% at any price worth betting."""

ARCHIVE_SCHEMA: dict[str, pl.DataType] = {
    "strategy_id": pl.String(),
    "pattern": pl.String(),
    "value": pl.String(),
    "bets": pl.UInt32(),
    "wins": pl.Float64(),
    "expected_wins": pl.Float64(),
    "turnover": pl.Float64(),
    "profit": pl.Float64(),
    "roi": pl.Float64(),
    "roi_low": pl.Float64(),
    "roi_high": pl.Float64(),
    "a_over_e": pl.Float64(),
    "best_of_k_95": pl.Float64(),
}
"""Columns of monitoring.roi_archive."""

COLUMN_WORDS = {
    "strategy_id": "strategy",
    "pattern": "strategy (all its bets), regime, course, trainer or tag",
    "value": "which regime, course, trainer or tag",
    "bets": "settled bets",
    "wins": "wins, dead heats in part",
    "expected_wins": "wins that the market's probabilities let expect",
    "turnover": "money staked",
    "profit": "money won, net of commission",
    "roi": "profit over turnover",
    "roi_low": "lower end of the 95% interval by race day, corrected for skewness",
    "roi_high": "upper end",
    "a_over_e": "wins over expected wins",
    "best_of_k_95": "ROI that the best of as many tried groups shows one time in twenty without any edge",
}
"""What each column is."""


_USED = (
    "strategy_id",
    "race_date",
    "race_key",
    "runner_key",
    "side",
    "stake",
    "matched_price",
    "decision_price",
    "market_probability",
    "status",
    "win_share",
    "profit",
    "course",
)
"""Columns of the ledger that patterns and intervals read."""


def roi_archive(
    ledgers: pl.DataFrame | Iterable[pl.DataFrame],
    runners: pl.DataFrame,
    *,
    trials: int | None = None,
    tags: Sequence[Tag] = TAGS,
) -> pl.DataFrame:
    """Returns of every strategy by pattern.

    Args:
        ledgers: rows of `backtest.bets`, in parts of whole strategies, of which one is in memory at a time; voids and
            unmatched orders don't count.
        runners: `runner_key, trainer` and the columns that the tags need, such as `betting.backtest.read_predictions`
            gives them; a tag whose columns are missing is left out.
        trials: number of variants ever tried on these data; adds the best-of-K null.
        tags: stories told about runners.

    Returns:
        `ARCHIVE_SCHEMA`, groups of `LEAST_BETS` bets or more; a runner may carry several tags or none.
    """
    able, _ = available_tags(runners, tags)
    carried = runners.select("runner_key", "trainer", *(tag.rule.fill_null(False).alias(tag.name) for tag in able))
    names = [tag.name for tag in able]
    parts = []
    for ledger in (ledgers,) if isinstance(ledgers, pl.DataFrame) else ledgers:
        joined = counted(ledger).select(_USED).join(carried, on="runner_key", how="left", maintain_order="left")
        for pattern in PATTERNS:
            rows = _labelled(joined, pattern, names).filter(pl.len().over("strategy_id", "course") >= LEAST_BETS)
            if rows.height:
                cut = breakdown(rows, "course", trials=trials).drop("dimension").rename({"group": "value"})
                parts.append(cut.with_columns(pl.lit(pattern).alias("pattern")))
    if not parts:
        return pl.DataFrame(schema=ARCHIVE_SCHEMA)
    archive = pl.concat(parts)
    if trials is None:
        archive = archive.with_columns(pl.lit(None, dtype=pl.Float64).alias("best_of_k_95"))
    return archive.select(list(ARCHIVE_SCHEMA)).cast(ARCHIVE_SCHEMA).sort("strategy_id", "pattern", "value")  # type: ignore[arg-type]


def _labelled(joined: pl.DataFrame, pattern: str, tags: Sequence[str]) -> pl.DataFrame:
    """Settled bets with the value of one pattern in the column for the course, by which `breakdown` cuts them.

    With tags there is a row for each tag that a runner carries.
    """
    settled = joined.select(_USED)
    if pattern == "tag":
        tagged = [settled.filter(joined[tag]).with_columns(pl.lit(tag).alias("course")) for tag in tags]
        return pl.concat([settled.clear(), *tagged])
    if pattern == "course":
        return settled.with_columns(pl.col("course").fill_null("unknown"))
    if pattern == "trainer":
        return settled.with_columns(joined["trainer"].fill_null("unknown").alias("course"))
    value = pl.lit("all" if pattern == "strategy" else "outside")
    if pattern == "regime":
        for band in PRICE_REGIMES:
            within = (pl.col("decision_price") >= band.low) & (pl.col("decision_price") < band.high)
            value = pl.when(within).then(pl.lit(band.name)).otherwise(value)
    return settled.with_columns(value.alias("course"))
