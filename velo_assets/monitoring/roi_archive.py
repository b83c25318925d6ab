"""The ROI archive: what every strategy returned, pattern by pattern, with intervals and the luck to be expected.

Belongs here: which patterns are kept and how a bet gets its pattern. Does not belong here: intervals (betting.metrics),
the tags' rules (betting.error_map).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from velo_assets.betting.error_map import TAG_COLUMNS, TAGS, Tag, available_tags
from velo_assets.betting.metrics import READ_BY_BREAKDOWNS, counted, cut, race_sums
from velo_assets.settings import PRICE_REGIMES

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

COLUMN_WORDS: dict[str, tuple[str, str]] = {
    "strategy_id": ("strategy", ""),
    "pattern": ("strategy (all its bets), regime, course, trainer or tag", ""),
    "value": ("which regime, course, trainer or tag", ""),
    "bets": ("settled bets", "bets"),
    "wins": ("wins, dead heats in part", "wins"),
    "expected_wins": ("wins that the market's probabilities let expect", "wins"),
    "turnover": ("money staked", "money"),
    "profit": ("money won, net of commission", "money"),
    "roi": ("profit over turnover", "of turnover"),
    "roi_low": ("lower end of the 95% interval by race day, corrected for skewness", "of turnover"),
    "roi_high": ("upper end", "of turnover"),
    "a_over_e": ("wins over expected wins", ""),
    "best_of_k_95": (
        "ROI that the best of as many tried groups shows one time in twenty without any edge",
        "of turnover",
    ),
}
"""What each column is, and its unit."""


READ_OF_BETS = (*READ_BY_BREAKDOWNS, "runner_key")
"""Columns of the ledger that patterns and intervals read."""

READ_OF_RUNNERS = ("race_date", "race_key", "runner_key", "trainer", *TAG_COLUMNS)
"""Columns of the wide frame of predictions that patterns read."""


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
    # One number for all tags of a runner, and a category for its trainer: it is joined to every ledger.
    carries = pl.sum_horizontal(
        pl.lit(0, dtype=pl.Int64),
        *(tag.rule.fill_null(False).cast(pl.Int64) * (1 << place) for place, tag in enumerate(able)),
    )
    carried = runners.select("runner_key", pl.col("trainer").cast(pl.Categorical), carries.alias("tags"))
    names = [tag.name for tag in able]
    parts = []
    for ledger in (ledgers,) if isinstance(ledgers, pl.DataFrame) else ledgers:
        bets = counted(ledger).join(carried, on="runner_key", how="left", maintain_order="left")
        for pattern, sums in _patterns(bets, names):
            kept = sums.filter(pl.col("bets").sum().over("strategy_id", "group") >= LEAST_BETS)
            if kept.height:
                parts.append(cut(kept, pattern, trials=trials))
    if not parts:
        return pl.DataFrame(schema=ARCHIVE_SCHEMA)
    archive = pl.concat(parts).rename({"dimension": "pattern", "group": "value"})
    if trials is None:
        archive = archive.with_columns(pl.lit(None, dtype=pl.Float64).alias("best_of_k_95"))
    return archive.select(list(ARCHIVE_SCHEMA)).cast(ARCHIVE_SCHEMA).sort("strategy_id", "pattern", "value")  # type: ignore[arg-type]


def _patterns(bets: pl.DataFrame, tags: Sequence[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Sums of the races (`race_sums`) with the value of a pattern as `group`.

    With tags a bet counts once for each tag that its runner carries.
    """
    whole = race_sums(bets)
    yield "strategy", whole.with_columns(pl.lit("all").alias("group"))
    yield "course", whole.with_columns(pl.col("course").fill_null("unknown").alias("group"))
    value = pl.lit("outside")
    for band in PRICE_REGIMES:
        within = (pl.col("decision_price") >= band.low) & (pl.col("decision_price") < band.high)
        value = pl.when(within).then(pl.lit(band.name)).otherwise(value)
    yield "regime", race_sums(bets.with_columns(value.alias("group")), "group")
    yield "trainer", race_sums(bets.with_columns(pl.col("trainer").fill_null("unknown").alias("group")), "group")
    tagged = [
        race_sums(bets.filter(pl.col("tags") & (1 << place) > 0)).with_columns(pl.lit(tag).alias("group"))
        for place, tag in enumerate(tags)
    ]
    yield "tag", pl.concat(tagged) if tagged else whole.clear().with_columns(pl.lit("").alias("group"))
