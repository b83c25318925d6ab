"""What a ledger of bets amounts to: return with its interval, and the doubt that belongs beside it.

Belongs here: numbers per strategy and per breakdown. Not here: pictures (`reports`).

Definitions
- A bet counts when it was settled as won, placed or lost; void and unmatched orders are counted apart and are in no
  total of stakes.
- ROI = profit / turnover, interval by race day with a correction for skewness (`modelling.bootstrap.money_interval`).
  The turnover of a lay is the backer's stake, not the liability.
- Win rate = bets won over bets, dead-heaters counting their share; a lay is won when its runner is beaten.
- A/E = wins / expected wins of the runners bet on, expected from the de-vigged market at the decision price; for lays
  below 1 is good. Runners without a market probability (partial books) are on neither side.
- Archie = N (W - E)^2 / (E (N - E)), about chi-square with 1 degree of freedom when the market is right.
- Closing-line value = stake-weighted mean of price taken / SP - 1; null when the price taken is itself a closing price.
- Sharpe = mean / standard deviation of the profit per day with a bet, times the root of such days per year; no
  risk-free rate.
- Max drawdown = largest fall of the cumulated profit from its peak (start included), in money; beside it as a share of
  turnover.
- Best-of-K null: what the best ROI of K strategies like this one would be if the de-vigged market were exactly right.
  Each-way bets have none: the market prices winners, and who is placed with whom would be a model's guess, not its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.betting.ledger import LEDGER
from velo_assets.betting.predictions import CLOSING_PRICE_KINDS
from velo_assets.betting.settle import COMMISSION_RATES, SETTLED
from velo_assets.modelling.bootstrap import NO_SPREAD, effective_degrees, money_interval, skew_corrected_ends
from velo_assets.settings import PRICE_BUCKETS

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BREAKDOWNS = ("year", "code", "course", "race_class", "price_band", "month")
"""Dimensions of `breakdown`; `month` is the calendar month, year and month together are `year_month`."""

READ_BY_BREAKDOWNS = (
    "strategy_id",
    "race_date",
    "race_key",
    "side",
    "bet_type",
    "stake",
    "matched_price",
    "decision_price",
    "market_probability",
    "status",
    "win_share",
    "profit",
    "code",
    "course",
    "race_class",
)
"""Columns of the ledger that a breakdown reads."""

RACE_LEVEL = ("year", "code", "course", "race_class", "month", "year_month")
"""Dimensions that all bets of a race have in common."""

NO_LUCK = 1e-7
"""A spread this small beside the turnover is rounding: a variance is a difference of squares, which keeps half the
digits. Stakes in proportion to 1/odds on a whole field return the same whoever wins."""


def counted(bets: pl.DataFrame) -> pl.DataFrame:
    """Bets that count: settled as won, placed or lost."""
    return bets.filter(pl.col("status").is_in(SETTLED))


def strategy_table(
    bets: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    names: dict[str, str] | None = None,
    trials: int | None = None,
    without_orders: Iterable[str] = (),
) -> pl.DataFrame:
    """One row per strategy.

    Args:
        bets: ledger, or ledgers of one strategy each (`ledger.ledgers`), which needs less memory.
        names: readable name per strategy id.
        trials: number of variants ever tried on these data (`trials.count_trials`); None = the strategies in `bets`.
        without_orders: strategies that were run and found nothing to bet on; they close the table, with zeros.

    Returns:
        `strategy_id, name, orders, bets, void, unmatched, wins, expected_wins, win_rate, turnover, profit, roi,
        roi_low, roi_high, roi_se, roi_commission_2, roi_commission_5, a_over_e, a_over_e_low, a_over_e_high, archie,
        archie_p, closing_line_value, mean_odds, sharpe, max_drawdown, max_drawdown_share, longest_losing_run,
        race_days, trials, best_of_k_median, best_of_k_95, beats_best_of_k, price_kind`. Sorted as the strategies came.
        Money in units of stake; ROI as a fraction of turnover. Null where there is nothing to measure; where all
        outcomes return the same there is no luck to beat, so `beats_best_of_k` is null.
    """
    parts = [bets] if isinstance(bets, pl.DataFrame) else bets
    rows: list[dict[str, object]] = []
    nulls: list[NullReturn | None] = []
    for part in parts:
        for (strategy_id,), ledger in part.group_by(["strategy_id"], maintain_order=True):
            row, null = _strategy_row(str(strategy_id), ledger)
            row["name"] = (names or {}).get(str(strategy_id), str(strategy_id))
            rows.append(row)
            nulls.append(null)
    for strategy_id in without_orders:
        row, _ = _strategy_row(strategy_id, pl.DataFrame(schema=LEDGER))
        rows.append(row | {"name": (names or {}).get(strategy_id, strategy_id)})
        nulls.append(None)
    known = len(rows) if trials is None else max(trials, len(rows))
    for row, null in zip(rows, nulls, strict=True):
        median = high = beats = None
        if null is not None:
            median, high = null.best_of(known, 0.5), null.best_of(known, 0.95)
            beats = row["roi"] > high if null.sd > 0 else None  # type: ignore[operator]
        row |= {
            "trials": known,
            "best_of_k_median": median,
            "best_of_k_95": high,
            "beats_best_of_k": beats,
        }
    return pl.DataFrame(rows, schema=STRATEGY_TABLE, orient="row") if rows else pl.DataFrame(schema=STRATEGY_TABLE)


STRATEGY_TABLE: dict[str, pl.DataType] = {
    "strategy_id": pl.String(),
    "name": pl.String(),
    "price_kind": pl.String(),
    "orders": pl.Int64(),
    "bets": pl.Int64(),
    "void": pl.Int64(),
    "unmatched": pl.Int64(),
    "wins": pl.Float64(),
    "expected_wins": pl.Float64(),
    "win_rate": pl.Float64(),
    "mean_odds": pl.Float64(),
    "turnover": pl.Float64(),
    "profit": pl.Float64(),
    "roi": pl.Float64(),
    "roi_low": pl.Float64(),
    "roi_high": pl.Float64(),
    "roi_se": pl.Float64(),
    "roi_commission_2": pl.Float64(),
    "roi_commission_5": pl.Float64(),
    "a_over_e": pl.Float64(),
    "a_over_e_low": pl.Float64(),
    "a_over_e_high": pl.Float64(),
    "archie": pl.Float64(),
    "archie_p": pl.Float64(),
    "closing_line_value": pl.Float64(),
    "sharpe": pl.Float64(),
    "max_drawdown": pl.Float64(),
    "max_drawdown_share": pl.Float64(),
    "longest_losing_run": pl.Int64(),
    "race_days": pl.Int64(),
    "trials": pl.Int64(),
    "best_of_k_median": pl.Float64(),
    "best_of_k_95": pl.Float64(),
    "beats_best_of_k": pl.Boolean(),
}
"""Columns of `backtest.strategies`."""


def breakdown(bets: pl.DataFrame, by: str, *, trials: int | None = None) -> pl.DataFrame:
    """ROI and A/E of each strategy by one dimension.

    Args:
        bets: ledger.
        by: one of `BREAKDOWNS` or `year_month`.
        trials: number of variants ever tried on these data; adds the best-of-K null of each group, with K = trials
            times the groups of the strategy, as each group is another look at the data.

    Returns:
        `strategy_id, dimension, group, bets, wins, expected_wins, turnover, profit, roi, roi_low, roi_high, a_over_e`,
        sorted; `best_of_k_95` with `trials`. A group within one race day, or without any winner, has no interval
        (null).

    Raises:
        ValueError: unknown dimension.
    """
    group = _group(by).alias("group")
    if by in RACE_LEVEL:
        return cut(race_sums(bets).with_columns(group), by, trials=trials)
    return cut(race_sums(bets.with_columns(group), "group"), by, trials=trials)


def breakdowns(bets: pl.DataFrame, dimensions: Sequence[str], *, trials: int | None = None) -> dict[str, pl.DataFrame]:
    """`breakdown` along several dimensions; the races are summed up once.

    Args:
        bets: ledger.
        dimensions: as `by` of `breakdown`.
        trials: as in `breakdown`.
    """
    sums = race_sums(bets)
    return {
        by: cut(sums.with_columns(_group(by).alias("group")), by, trials=trials)
        if by in RACE_LEVEL
        else breakdown(bets, by, trials=trials)
        for by in dimensions
    }


def race_sums(bets: pl.DataFrame, *labels: str) -> pl.DataFrame:
    """What the bets that count add up to within each race: all that a cut of them needs, in a tenth of the rows.

    Args:
        bets: ledger.
        *labels: columns by which the bets of one race are told apart.

    Returns:
        By strategy, labels (both as categories) and race, in the order of the ledger: `race_date, race_key, code,
        course, race_class` (as far as the ledger has them), `bets, wins, expected_wins, turnover, profit, laid`; and of
        the bets with a market probability `priced_wins`; of those among them that are to win only, `base, m1, m2, m3`
        (see `_moments`) and `priced_turnover`.
    """
    priced = (
        pl.col("market_probability").is_not_null()
        & pl.col("matched_price").is_not_null()
        & (pl.col("stake") > 0)
        & (pl.col("bet_type") == "win")
    )
    # Profit = base + pay-out of the winner: a back loses its stake and is paid stake * odds, a lay the reverse.
    sign = pl.when(pl.col("side") == "back").then(1.0).otherwise(-1.0)
    pay, p = pl.col("_pay"), pl.col("market_probability")
    keys = ("strategy_id", *labels, "race_date", "race_key")
    of_race = [name for name in ("code", "course", "race_class") if name in bets.columns and name not in labels]
    return (
        counted(bets)
        .with_columns(
            # Numbers are grouped faster than words.
            pl.col("strategy_id", *labels).cast(pl.Categorical),
            pl.when(priced).then(sign * pl.col("stake") * pl.col("matched_price")).alias("_pay"),
            pl.when(priced).then(pl.col("stake")).alias("priced_turnover"),
            pl.when(priced).then(-sign * pl.col("stake")).alias("base"),
            (pl.col("side") == "lay").alias("laid"),
        )
        .group_by(keys, maintain_order=True)
        .agg(
            pl.col(of_race).first(),
            pl.len().alias("bets"),
            pl.col("win_share").sum().alias("wins"),
            pl.col("market_probability").sum().alias("expected_wins"),
            pl.col("win_share").filter(p.is_not_null()).sum().alias("priced_wins"),
            pl.col("stake").sum().alias("turnover"),
            pl.col("profit").sum(),
            pl.col("laid").any(),
            pl.col("base").sum(),
            (p * pay).sum().alias("m1"),
            (p * pay**2).sum().alias("m2"),
            (p * pay**3).sum().alias("m3"),
            pl.col("priced_turnover").sum(),
        )
    )


def cut(sums: pl.DataFrame, by: str, *, trials: int | None = None) -> pl.DataFrame:
    """`breakdown` of bets that `race_sums` has summed up.

    Args:
        sums: from `race_sums`, with the column `group`.
        by: name of the dimension, for the column of that name.
        trials: as in `breakdown`.
    """
    keys = ["strategy_id", "group"]
    sums = sums.with_columns(pl.col(keys).cast(pl.Categorical))
    added = ("bets", "wins", "priced_wins", "expected_wins", "turnover", "profit")
    daily = sums.group_by(*keys, "race_date").agg(pl.col(added).sum(), pl.col("laid").any())
    table = daily.group_by(keys).agg(pl.col(added).sum(), pl.len().alias("days"), pl.col("laid").any())
    # A partial book expects nothing of its runners, so its winners are not held against what others expected.
    ratio = pl.when(pl.col("expected_wins") > 0).then(pl.col("priced_wins") / pl.col("expected_wins")).otherwise(None)
    columns = _with_intervals(table, daily).select(
        "strategy_id",
        pl.lit(by).alias("dimension"),
        "group",
        "bets",
        "wins",
        "expected_wins",
        "turnover",
        "profit",
        "roi",
        "roi_low",
        "roi_high",
        ratio.alias("a_over_e"),
    )
    if trials is not None:
        columns = columns.join(_group_nulls(sums, trials), on=keys, how="left")
    return columns.with_columns(pl.col(keys).cast(pl.String)).sort(keys)


@dataclass(frozen=True)
class NullReturn:
    """ROI of a set of bets if the de-vigged market were exactly right: the first three moments of a sum over races.

    Attributes:
        mean: expected ROI (minus the take-out paid).
        sd: standard deviation of the ROI.
        skewness: long prices skew it to the right.
    """

    mean: float
    sd: float
    skewness: float

    def quantile(self, level: float) -> float:
        """Quantile of the ROI of one such set of bets (Pearson III with these moments)."""
        return self.mean + self.sd * float(pearson3_quantile(level, np.array([self.skewness]))[0])

    def best_of(self, trials: int, level: float) -> float:
        """Quantile of the best ROI among independent sets of such bets: `F^-1(level^(1/K))`."""
        return self.quantile(level ** (1.0 / max(trials, 1)))


def pearson3_quantile(level: float | FloatArray, skewness: FloatArray) -> FloatArray:
    """Quantile of the standardised Pearson III distribution: a shifted gamma with mean 0, variance 1 and this skewness.

    Args:
        level: in (0, 1); one, or of the shape of `skewness`.
        skewness: any shape; near 0 the normal quantile is returned.

    Returns:
        Same shape as `skewness`.
    """
    from scipy import special

    straight = np.abs(skewness) < 1e-4
    shape = 4.0 / np.where(straight, 1.0, skewness) ** 2
    left = special.gammaincinv(shape, 1.0 - level)
    right = special.gammaincinv(shape, level)
    skewed = np.where(skewness > 0, right - shape, shape - left) / np.sqrt(shape)
    quantile: FloatArray = np.where(straight, special.ndtri(level), skewed)
    return quantile


def null_return(bets: pl.DataFrame) -> NullReturn | None:
    """Moments of the ROI of win bets under the de-vigged market, exact within races (one winner), independent between
    them.

    Args:
        bets: ledger rows that count, of one strategy.

    Returns:
        Moments; None when no bet to win has a market probability.
    """
    races = _moments(race_sums(bets))
    if races.is_empty():
        return None
    mean, variance, third, turnover = (races.select(pl.col(name).sum()).to_series().to_numpy() for name in _MOMENTS)
    sd, skewness = _spread(variance, third, turnover)
    return NullReturn(float(mean[0] / turnover[0]), float(sd[0] / turnover[0]), float(skewness[0]))


def _spread(variance: FloatArray, third: FloatArray, turnover: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Standard deviation of a profit, in money, and its skewness, from its central moments; 0 where it is rounding."""
    sd = np.sqrt(np.maximum(variance, 0.0))
    sd = np.where(sd > NO_LUCK * turnover, sd, 0.0)
    return sd, np.where(sd > 0, third / np.where(sd > 0, sd, 1.0) ** 3, 0.0)


def null_band(bets: pl.DataFrame, trials: int, level: float = 0.95) -> pl.DataFrame:
    """The best-of-K null along the way: profit that the best of K such strategies would show after each race day.

    Args:
        bets: ledger of one strategy.
        trials: K.
        level: quantile of the best.

    Returns:
        `race_date, null_mean, null_best` cumulated profit, by day; empty when it can't be computed.
    """
    races = _moments(race_sums(bets))
    if races.is_empty():
        return pl.DataFrame(schema={"race_date": pl.Date, "null_mean": pl.Float64, "null_best": pl.Float64})
    daily = races.group_by("race_date", maintain_order=True).agg(pl.col(_MOMENTS).sum()).sort("race_date")
    mean, variance, third, turnover = (np.cumsum(daily.get_column(name).to_numpy()) for name in _MOMENTS)
    sd, skewness = _spread(variance, third, turnover)
    best = mean + sd * pearson3_quantile(level ** (1.0 / max(trials, 1)), skewness)
    return pl.DataFrame({"race_date": daily.get_column("race_date"), "null_mean": mean, "null_best": best})


def equity(bets: pl.DataFrame, draws: int = 400, seed: int = 0) -> pl.DataFrame:
    """Cumulated profit of one strategy with the band of paths its own days could have made.

    The band resamples the days' profits and cumulates them: 2.5% to 97.5% of the paths at each point, around what was
    seen.

    Args:
        bets: ledger of one strategy.
        draws: paths.
        seed: of the draws.

    Returns:
        `race_date, profit, cumulative, drawdown, band_low, band_high`, one row per day with a bet.
    """
    days = daily_profit(bets)
    profit = days.get_column("profit").to_numpy()
    if len(profit) == 0:
        schema = {
            "race_date": pl.Date,
            **dict.fromkeys(("profit", "cumulative", "drawdown", "band_low", "band_high"), pl.Float64),
        }
        return pl.DataFrame(schema=schema)
    cumulative = np.cumsum(profit)
    generator = np.random.default_rng(seed)
    paths = np.empty((draws, len(profit)))
    for draw in range(draws):
        paths[draw] = np.cumsum(profit[generator.integers(0, len(profit), len(profit))])
    low, high = np.quantile(paths, [0.025, 0.975], axis=0)
    return days.select("race_date", "profit").with_columns(
        pl.Series("cumulative", cumulative),
        pl.Series("drawdown", drawdown(cumulative)),
        pl.Series("band_low", low),
        pl.Series("band_high", high),
    )


def daily_profit(bets: pl.DataFrame) -> pl.DataFrame:
    """`race_date, turnover, profit, wins, expected_wins` per day with a bet that counts, sorted."""
    return (
        counted(bets)
        .group_by("race_date")
        .agg(
            pl.col("stake").sum().alias("turnover"),
            pl.col("profit").sum(),
            pl.col("win_share").sum().alias("wins"),
            pl.col("market_probability").sum().alias("expected_wins"),
        )
        .sort("race_date")
    )


def drawdown(cumulative: FloatArray) -> FloatArray:
    """Fall from the highest point so far, the start (0) included; 0 or negative, same length."""
    return cumulative - np.maximum(np.maximum.accumulate(cumulative), 0.0) if len(cumulative) else cumulative


def longest_losing_run(profit: FloatArray) -> int:
    """Longest run of bets in a row that made no profit, in the order of the ledger."""
    if len(profit) == 0:
        return 0
    position = np.arange(len(profit))
    last_win = np.maximum.accumulate(np.where(profit > 0, position, -1))
    return int((position - last_win).max())


def archie(wins: float, expected: float, bets: int) -> float | None:
    """`N (W - E)^2 / (E (N - E))`; None when the expectation is 0 or all."""
    return bets * (wins - expected) ** 2 / (expected * (bets - expected)) if 0 < expected < bets else None


def _strategy_row(strategy_id: str, ledger: pl.DataFrame) -> tuple[dict[str, object], NullReturn | None]:
    """All metrics of one strategy but the best-of-K null, which needs K."""
    settled = counted(ledger)
    status = dict(ledger.get_column("status").value_counts().iter_rows())
    row: dict[str, object] = dict.fromkeys(STRATEGY_TABLE)
    row |= {
        "strategy_id": strategy_id,
        "orders": ledger.height,
        "bets": settled.height,
        "void": status.get("void", 0),
        "unmatched": status.get("unmatched", 0),
        "price_kind": ledger.get_column("price_kind").drop_nulls().first() if ledger.height else None,
    }
    if settled.height == 0:
        return row, None
    days = daily_profit(settled)
    turnover, profit = float(days.get_column("turnover").sum()), float(days.get_column("profit").sum())
    priced = settled.filter(pl.col("market_probability").is_not_null())
    wins, expected = float(priced.get_column("win_share").sum()), float(priced.get_column("market_probability").sum())
    score = archie(wins, expected, priced.height)
    laid = (settled.get_column("side") == "lay").to_numpy()
    won = np.where(laid, 1.0 - settled.get_column("win_share").to_numpy(), settled.get_column("win_share").to_numpy())
    # Bets that all lost show no spread, so no doubt is shown: none was measured.
    roi = money_interval(days["profit"].to_numpy(), days["turnover"].to_numpy(), _worst_return(bool(laid.any())))
    by_day = days.get_column("profit").to_numpy()
    falls = drawdown(np.cumsum(by_day))
    row |= {
        "wins": float(settled.get_column("win_share").sum()),
        "expected_wins": expected if priced.height else None,
        "win_rate": float(won.mean()),
        "mean_odds": settled.get_column("matched_price").mean(),
        "turnover": turnover,
        "profit": profit,
        "roi": roi.estimate,
        "roi_low": _finite(roi.low),
        "roi_high": _finite(roi.high),
        "roi_se": _finite(roi.standard_error),
        "archie": score,
        "archie_p": None if score is None else math.erfc(math.sqrt(score / 2.0)),
        "closing_line_value": _closing_line_value(settled),
        "sharpe": sharpe(by_day, days.get_column("race_date").to_numpy()),
        "max_drawdown": float(-falls.min()),
        "max_drawdown_share": float(-falls.min()) / turnover,
        "longest_losing_run": longest_losing_run(settled.get_column("profit").to_numpy()),
        "race_days": days.height,
    }
    if expected > 0:
        expected_days = daily_profit(priced)
        ratio = money_interval(expected_days["wins"].to_numpy(), expected_days["expected_wins"].to_numpy(), 0.0)
        row |= {"a_over_e": ratio.estimate, "a_over_e_low": _finite(ratio.low), "a_over_e_high": _finite(ratio.high)}
    by_race = settled.group_by("race_key").agg(pl.col("gross_profit").sum()).get_column("gross_profit").to_numpy()
    for rate in COMMISSION_RATES[1:]:
        row[f"roi_commission_{round(100 * rate)}"] = (
            float(np.where(by_race > 0, by_race * (1.0 - rate), by_race).sum()) / turnover
        )
    return row, null_return(settled)


def sharpe(profit_by_day: FloatArray, days: NDArray[np.datetime64]) -> float | None:
    """Mean over standard deviation of the daily profit, times the root of betting days per year.

    Args:
        profit_by_day: `(days,)` profit of each day with a bet.
        days: `(days,)` dates, rising.

    Returns:
        The annualised ratio; None with fewer than two days or no spread.
    """
    if len(profit_by_day) < 2:
        return None
    spread = float(profit_by_day.std(ddof=1))
    span = float((days[-1] - days[0]) / np.timedelta64(1, "D")) + 1.0
    # A record shorter than a year is scaled as if its days were spread over a whole year at the same rate.
    per_year = len(profit_by_day) * 365.25 / span
    if spread <= NO_SPREAD * float(np.abs(profit_by_day).max()):
        return None
    return float(profit_by_day.mean()) / spread * math.sqrt(per_year)


def _closing_line_value(settled: pl.DataFrame) -> float | None:
    """Stake-weighted mean of price taken over SP, less 1; positive is good for the bettor on either side."""
    open_bets = settled.filter(
        (~pl.col("price_kind").is_in(CLOSING_PRICE_KINDS) | pl.col("ordered_at").is_not_null())
        & pl.col("closing_price").is_not_null()
        & pl.col("matched_price").is_not_null()
    )
    if open_bets.is_empty():
        return None
    ratio = pl.col("matched_price") / pl.col("closing_price")
    value = pl.when(pl.col("side") == "lay").then(1.0 / ratio - 1.0).otherwise(ratio - 1.0)
    return float(open_bets.select((value * pl.col("stake")).sum() / pl.col("stake").sum()).item())


_MOMENTS = ("mean", "variance", "third", "turnover")


def _moments(sums: pl.DataFrame) -> pl.DataFrame:
    """Moments of the profit of each race when one runner wins by the market's odds, from `race_sums`.

    Returns:
        The rows with `mean, variance, third` (the third central moment) and the `turnover` of the bets that have a
        market probability; no row where none has.
    """
    base, m1, m2, m3 = (pl.col(name) for name in ("base", "m1", "m2", "m3"))
    return sums.filter(pl.col("priced_turnover") > 0).with_columns(
        (base + m1).alias("mean"),
        (m2 - m1**2).alias("variance"),
        (m3 - 3.0 * m1 * m2 + 2.0 * m1**3).alias("third"),
        pl.col("priced_turnover").alias("turnover"),
    )


def _group(by: str) -> pl.Expr:
    """Label of the group of each bet; a price band has its low included, its high excluded."""
    if by == "price_band":
        price = pl.col("decision_price")
        label = pl.lit(None, dtype=pl.String)
        for position, (low, high) in enumerate(PRICE_BUCKETS):
            label = (
                pl.when((price >= low) & (price < high))
                .then(pl.lit(bucket_label(low, high, position)))
                .otherwise(label)
            )
        return label.fill_null("other")
    expressions = {
        "year": pl.col("race_date").dt.year().cast(pl.String),
        "month": pl.col("race_date").dt.strftime("%m"),
        "year_month": pl.col("race_date").dt.strftime("%Y-%m"),
        "code": pl.col("code"),
        "course": pl.col("course"),
        "race_class": pl.col("race_class").cast(pl.String),
    }
    if by not in expressions:
        raise ValueError(f"breakdown: unknown dimension {by!r}; use {', '.join((*expressions, 'price_band'))}")
    return expressions[by].fill_null("unknown")


def bucket_label(low: float, high: float, position: int) -> str:
    """Words of a price bucket, such as `2: 5-8`, which sort as the buckets do."""
    words = f"{low:g}+" if high > 1000 else (f"under {high:g}" if low <= 1.0 else f"{low:g}-{high:g}")
    return f"{position + 1}: {words}"


def _group_nulls(sums: pl.DataFrame, trials: int) -> pl.DataFrame:
    """`strategy_id, group, best_of_k_95` from the sums of races that carry their `group`."""
    keys = ["strategy_id", "group"]
    groups = sums.group_by("strategy_id").agg(pl.col("group").n_unique().alias("groups"))
    table = (
        _moments(sums).group_by(keys, maintain_order=True).agg(pl.col(_MOMENTS).sum()).join(groups, on="strategy_id")
    )
    mean, variance, third, turnover, looks = (table.get_column(name).to_numpy() for name in (*_MOMENTS, "groups"))
    sd, skewness = _spread(variance, third, turnover)
    level = 0.95 ** (1.0 / np.maximum(trials * looks, 1))
    best = (mean + sd * pearson3_quantile(level, skewness)) / turnover
    return table.select(*keys, pl.Series("best_of_k_95", best, dtype=pl.Float64))


def _with_intervals(table: pl.DataFrame, daily: pl.DataFrame) -> pl.DataFrame:
    """Add ROI and its interval to groups, as `money_interval` makes it, all groups at once."""
    roi = pl.col("profit") / pl.col("turnover")
    keys = ["strategy_id", "group"]
    grouped = table.with_columns(roi.alias("roi"))
    residual = pl.col("profit") - pl.col("roi") * pl.col("turnover")
    spread = (
        daily.join(grouped.select(*keys, "roi"), on=keys)
        .group_by(keys)
        .agg(*(residual.pow(power).sum().alias(f"_power_{power}") for power in (2, 3, 4)))
    )
    grouped = grouped.join(spread, on=keys, how="left", maintain_order="left")
    square, cube, fourth, days, turnover, estimate = (
        grouped.get_column(name).cast(pl.Float64).to_numpy()
        for name in ("_power_2", "_power_3", "_power_4", "days", "turnover", "roi")
    )
    # One day, or no winner at all: the days show no spread, so there is no interval.
    known = (days > 1) & (square > (NO_SPREAD * turnover) ** 2)
    days, square = np.where(known, days, 2.0), np.where(known, square, 1.0)
    error = np.sqrt(square * days / (days - 1.0)) / turnover
    degrees = effective_degrees(days, square, np.where(known, fourth, 0.5))
    low, high = skew_corrected_ends(estimate, error, np.where(known, cube, 0.0) / square**1.5, degrees)
    low = np.maximum(low, np.where(grouped.get_column("laid").to_numpy(), -np.inf, -1.0))
    return grouped.with_columns(
        pl.Series("roi_low", np.where(known, low, np.nan)).fill_nan(None),
        pl.Series("roi_high", np.where(known, high, np.nan)).fill_nan(None),
    )


def _worst_return(laid: bool) -> float:
    """Least return there can be: a back loses its stake, a lay many times the backer's."""
    return -math.inf if laid else -1.0


def _finite(value: float) -> float | None:
    """None for what is not a number."""
    return value if math.isfinite(value) else None
