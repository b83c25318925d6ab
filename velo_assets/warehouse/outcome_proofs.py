"""Dynamic leak proofs by outcomes: no feature may rank winners better than the market, nor know shuffled ones.

T6 tripwire, T7 permutation (docs/leak_proofs.md).

Belongs here: both checks, on a warehouse and on a frame. Does not belong here: comparing rebuilt features with stored
ones (recompute.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb
import numpy as np
import polars as pl

from velo_assets.warehouse.bench import ENTRY_TABLES, KEYS, CheckResult, Texts, bench
from velo_assets.warehouse.export import MATRIX
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import build_order, load_table

AUC_ALARM = 0.80
"""Pooled AUC of a single feature above this is a leak: no public value known before the race comes near it."""

ALARM_Z = 2.0
"""A feature raises the alarm when it beats the market's concordance by this many standard errors: not by chance."""

PERMUTATION_Z = 3.0
"""R2 on shuffled winners above this many standard errors is information that cannot be there."""


def tripwire(connection: duckdb.DuckDBPyConnection, *, table: str = MATRIX, max_races: int = 20_000) -> CheckResult:
    """T6 on the stored matrix and the closing prices: no feature ranks runners within races better than the market.

    Args:
        connection: an open warehouse.
        table: the matrix, or one family.
        max_races: the latest races are enough, and bound the memory.
    """
    relation = load_table(table).relation
    frame = frame_of(
        connection,
        f"""
        with latest as (
            select race_key from core.results group by race_key having sum(won) > 0
            order by max(race_date) desc, race_key limit {int(max_races)}
        ),
        closing as (
            select runner_key, -decimal_odds as market_rank_value from core.prices
            where price_kind in ('sp', 'bsp') and book_complete
            qualify row_number() over (partition by runner_key order by price_kind desc) = 1
        )
        select matrix.*, results.won as leak_check_won, closing.market_rank_value
        from {relation} as matrix
        inner join core.results as results on results.runner_key = matrix.runner_key
        left join closing on closing.runner_key = matrix.runner_key
        where matrix.race_key in (select race_key from latest)
        """,
    )
    return tripwire_of(frame, won="leak_check_won", market="market_rank_value")


def tripwire_of(frame: pl.DataFrame, *, won: str, market: str) -> CheckResult:
    """T6 on a frame.

    Args:
        frame: runners with `race_key`, the winner flag, the market's ranking value (higher is better) and features.
        won: winner column, 0 or 1.
        market: market column.

    Returns:
        Failed when a numeric column, either way round, orders winners before losers of the same race better than the
        market does on the same pairs by more than chance, or has a pooled AUC above the alarm line.
    """
    frame = frame.filter(pl.col(won).is_not_null())
    numeric = [
        name
        for name, kind in frame.schema.items()
        if (kind.is_numeric() or kind == pl.Boolean) and name not in (*KEYS, won, market)
    ]
    if frame.is_empty():
        return CheckResult("T6 tripwire", True, 0)
    winner, loser = _pairs(frame, won)
    race = frame["race_key"].rank("dense").to_numpy().astype(np.int64)[winner] - 1
    labels = frame[won].to_numpy() > 0
    market_score = _scores(frame[market], winner, loser)
    differences: list[str] = []
    measures: dict[str, float] = {"market concordance": float(np.nanmean(market_score)) if len(winner) else np.nan}
    for name in numeric:
        score = _scores(frame[name], winner, loser)
        both = np.isfinite(score) & np.isfinite(market_score)
        if both.any():
            direction = 1.0 if score[both].mean() >= 0.5 else -1.0
            gain = direction * (score[both] - 0.5) - (market_score[both] - 0.5)
            by_race = np.bincount(race[both], weights=gain - gain.mean())
            error = float(np.sqrt((by_race**2).sum())) / len(gain)
            if gain.mean() > 0 and gain.mean() > ALARM_Z * error:
                share, market_share = 0.5 + abs(score[both].mean() - 0.5), market_score[both].mean()
                differences.append(
                    f"{name} ranks winners above losers in {share:.3f} of pairs, the market in {market_share:.3f} "
                    f"(standard error of the difference {error:.3f})"
                )
                continue
        area = _auc(frame[name].cast(pl.Float64).to_numpy(), labels)
        if max(area, 1 - area) > AUC_ALARM:
            differences.append(f"{name} has a pooled AUC of {max(area, 1 - area):.3f}, above {AUC_ALARM}")
    return CheckResult("T6 tripwire", not differences, frame.height, tuple(differences), measures)


def permutation(
    connection: duckdb.DuckDBPyConnection,
    start: date,
    end: date,
    *,
    table: str = MATRIX,
    texts: Texts | None = None,
    features: Sequence[str] | None = None,
    seed: int = 7,
) -> CheckResult:
    """T7: with the results of every race dealt out anew, a model on rebuilt features knows nothing.

    The payload of `core.results` and `core.sectionals` moves between the runners of a race; prices stay. All features
    are built again from it. A price-free conditional logit is fitted on the first 70% of the days, judged on the rest.

    Args:
        connection: an open warehouse.
        start: first day of the window that is built.
        end: last day.
        table: the matrix, or one family.
        texts: planted SQL.
        features: its columns; None for all numeric ones.
        seed: of the shuffle.

    Returns:
        Failed when R2 on shuffled winners exceeds 0 by more than chance.
    """
    with bench(connection) as copy:
        for name in (*ENTRY_TABLES, "core/prices"):
            copy.show(name)
        order = copy.rows("core/results", "true").select("race_key", "runner_key")
        deal = _deal(order, seed)
        for name in ("core/results", "core/sectionals"):
            if copy.exists(name):
                rows = copy.rows(name, "true")
                keyed = rows.join(deal, on="runner_key", how="left")
                dealt = keyed.with_columns(pl.coalesce("dealt_to", "runner_key").alias("runner_key")).drop("dealt_to")
                if "horse_key" in dealt.columns:
                    own = rows.select("runner_key", "horse_key")
                    dealt = dealt.drop("horse_key").join(own, on="runner_key", how="left")
                copy.show_with(name, "false", dealt.select(rows.columns))
        copy.build_all(build_order("features", (table,)), start, end, texts or {})
        frame = frame_of(
            connection,
            f"select matrix.*, results.win_share from {copy.built(table)} as matrix "
            "inner join core.results as results on results.runner_key = matrix.runner_key",
        )
    return permutation_of(frame, features)


def permutation_of(frame: pl.DataFrame, features: Sequence[str] | None = None) -> CheckResult:
    """T7 on a frame whose winners have been shuffled within races.

    Args:
        frame: runners with `race_date`, `race_key`, `runner_key`, `win_share` and features, whole races only.
        features: columns; None for all numeric ones.
    """
    from velo_assets.modelling.conditional_logit import LinearLogit
    from velo_assets.modelling.races import Races, log_loss_per_race

    whole = pl.col("win_share").sum().over("race_key").is_between(0.999, 1.001) & (pl.len().over("race_key") > 1)
    frame = frame.filter(whole).sort("race_date", "race_key", "runner_key")
    wanted = features or [
        name for name, kind in frame.schema.items() if kind.is_numeric() and name not in (*KEYS, "win_share")
    ]
    days = frame["race_date"].unique().sort()
    split = days[int(0.7 * len(days))]
    train, test = frame.filter(pl.col("race_date") < split), frame.filter(pl.col("race_date") >= split)
    matrices = [part.select(pl.col(wanted).cast(pl.Float32)).to_numpy() for part in (train, test)]
    model = LinearLogit.fit(matrices[0], Races.from_frame(train), wanted, ridge=25.0)
    races = Races.from_frame(test)
    probability = races.softmax(model.score(matrices[1], races))
    gain = np.log(races.field_size) - log_loss_per_race(probability, races.win_share, races.race_starts)
    null = float(np.log(races.field_size).mean())
    r2, error = float(gain.mean()) / null, float(gain.std(ddof=1)) / np.sqrt(len(gain)) / null
    passed = r2 <= PERMUTATION_Z * error
    found = (
        () if passed else (f"R2 on shuffled winners is {r2:.4f}, standard error {error:.4f}: features know winners",)
    )
    return CheckResult("T7 permutation", passed, test.height, found, {"R2": r2, "standard error": error})


def deal(rows: pl.DataFrame, seed: int, column: str = "win_share") -> pl.DataFrame:
    """Deal the values of `column` out anew among the runners of each race."""
    dealt_to = _deal(rows.select("race_key", "runner_key"), seed)
    dealt = rows.select("runner_key", column).join(dealt_to, on="runner_key").select(column, runner_key="dealt_to")
    return rows.drop(column).join(dealt, on="runner_key", how="left")


def _deal(runners: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Within each race, a permutation of its runners: `runner_key` to `dealt_to`."""
    runners = runners.sort("race_key", "runner_key")
    rng = np.random.default_rng(seed)
    shuffled = runners.with_columns(pl.Series("luck", rng.random(runners.height))).sort("race_key", "luck")
    return pl.DataFrame({"runner_key": runners["runner_key"], "dealt_to": shuffled["runner_key"]})


def _pairs(frame: pl.DataFrame, won: str) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of every (winner, loser) pair within a race."""
    numbered = frame.select("race_key", won).with_row_index("row")
    winners = numbered.filter(pl.col(won) > 0).select("race_key", winner="row")
    losers = numbered.filter(pl.col(won) == 0).select("race_key", loser="row")
    pairs = winners.join(losers, on="race_key")
    return pairs["winner"].to_numpy(), pairs["loser"].to_numpy()


def _scores(column: pl.Series, winner: np.ndarray, loser: np.ndarray) -> np.ndarray:
    """1 where the winner's value is higher, 0.5 where equal, 0 where lower, NaN where one is missing."""
    values = column.cast(pl.Float64).to_numpy()
    gap = values[winner] - values[loser]
    return np.where(np.isnan(gap), np.nan, 0.5 + 0.5 * np.sign(gap))


def _auc(values: np.ndarray, labels: np.ndarray) -> float:
    known = np.isfinite(values)
    values, labels = values[known], labels[known]
    positives = int(labels.sum())
    if positives == 0 or positives == len(labels):
        return 0.5
    ranks = pl.Series(values).rank("average").to_numpy()
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))
