"""Do the backtest's intervals hold the truth? Simulated worlds with known chances, settled by the product's rules.

In a world of edge 0 the market's price knows everything; with a planted edge it overlooks a part of four effects. The
simulator's true chance of each runner gives the true return of every bet at its price, so each strategy's interval can
be held against the truth of its own bets. What is real here: prices, books, strategies of strategies.toml, execution,
settlement, metrics. What is made up: the opinion that chooses the bets. At edge 0 it is the market with noise, so there
is nothing to know; with an edge it is the true chance with a little noise.

    nice python -m benchmarks.backtest_study --worlds 400 --edge-worlds 200 --out docs/backtest_study.md

With `--keep FOLDER --sitting N` it simulates N worlds more, keeps them there, and writes the page once all are there.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import textwrap
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from velo_assets.betting.ledger import place_bets
from velo_assets.betting.metrics import counted, strategy_table
from velo_assets.betting.strategies import load_strategies
from velo_assets.modelling.bootstrap import day_sums, ratio_interval
from velo_assets.modelling.market import devig
from velo_assets.racing.settlement import settling_results
from velo_assets.simulation.prices import decimal_ladder, nearest_price
from velo_assets.simulation.season import Season
from velo_assets.simulation.world import simulate_years

YEARS = (2020, 2021)
RACES_PER_YEAR = 600
FEW_DAYS = 25
"""The short record: the first betting days of the same worlds."""

STRATEGIES = (
    "market_all",
    "blend_top20",
    "blend_5_8",
    "blend_8_15",
    "blend_15_21",
    "blend_value",
    "blend_value_exchange",
    "blend_lay",
)
EDGE = 2.0
NOISE_WITHOUT_EDGE, NOISE_WITH_EDGE = 0.3, 0.1
"""Spread of the opinion's error, in log odds."""

PERCENTILE_DRAWS = 1000
LEVEL = (0.93, 0.97)


@dataclass(frozen=True)
class Arm:
    """Worlds of one kind.

    Attributes:
        name: of its files.
        edge: of the simulator.
        noise: spread of the opinion's error.
        worlds: how many.
        first_seed: seeds run on from here.
    """

    name: str
    edge: float
    noise: float
    worlds: int
    first_seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--edge-worlds", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="folder of worlds already simulated")
    parser.add_argument("--sitting", type=int, help="how many worlds to simulate this time; all by default")
    arguments = parser.parse_args()
    keep = arguments.keep or Path(tempfile.mkdtemp(prefix="velo-study-"))
    keep.mkdir(parents=True, exist_ok=True)
    arms = (
        Arm("quiet", 0.0, NOISE_WITHOUT_EDGE, arguments.worlds, 9_000),
        Arm("planted", EDGE, NOISE_WITH_EDGE, arguments.edge_worlds, 19_000),
    )
    missing = [
        (arm, world, keep / f"{arm.name}_{world:04}.parquet")
        for arm in arms
        for world in range(arm.worlds)
        if not (keep / f"{arm.name}_{world:04}.parquet").exists()
    ]
    for arm, world, path in missing[: arguments.sitting]:
        began = time.process_time()
        rows = run(arm, world)
        rows.with_columns(seconds=pl.lit(time.process_time() - began)).write_parquet(path)
    if arguments.sitting is not None and len(missing) > arguments.sitting:
        print(f"{len(missing) - arguments.sitting} worlds to go")
        return
    frames = {
        arm.name: pl.concat(pl.read_parquet(keep / f"{arm.name}_{world:04}.parquet") for world in range(arm.worlds))
        for arm in arms
    }
    seconds = sum(
        float(rows.group_by("world").agg(pl.col("seconds").first())["seconds"].sum()) for rows in frames.values()
    )
    arguments.out.write_text(page(frames["quiet"], frames["planted"], arguments, seconds), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))
    if arguments.keep is None:
        shutil.rmtree(keep)


def run(arm: Arm, world: int) -> pl.DataFrame:
    """One row per record length and strategy of a world: the truth, the estimate, both intervals."""
    frame = world_frame(arm.first_seed + world, arm.edge, arm.noise)
    bets = place_bets(frame, load_strategies(STRATEGIES))
    days = frame["race_date"].unique().sort()
    rows = []
    for record, last in (("two seasons", days[-1]), (f"{FEW_DAYS} days", days[FEW_DAYS - 1])):
        part = bets.filter(pl.col("race_date") <= last)
        rows.append(measured(part, frame).with_columns(world=pl.lit(world), record=pl.lit(record)))
    return pl.concat(rows)


def measured(bets: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """The product's figures of each strategy beside the truth of its bets and the percentile interval."""
    table = strategy_table(bets)
    settled = counted(bets).join(frame.select("runner_key", "true_probability"), on="runner_key")
    back = pl.col("stake") * (pl.col("true_probability") * pl.col("matched_price") - 1.0)
    truth = settled.group_by("strategy_id").agg(
        pl.when(pl.col("side") == "lay").then(-back).otherwise(back).sum().alias("true_profit")
    )
    percentile = []
    for (strategy_id,), part in settled.group_by(["strategy_id"]):
        sums = day_sums(part.select("profit", "stake").to_numpy(), part["race_date"].to_numpy())
        interval = ratio_interval(sums[:, 0], sums[:, 1], PERCENTILE_DRAWS)
        percentile.append((strategy_id, interval.low, interval.high))
    schema = {"strategy_id": pl.String, "percentile_low": pl.Float64, "percentile_high": pl.Float64}
    return (
        table.select(
            "strategy_id", "bets", "race_days", "roi", "roi_low", "roi_high", "roi_se", "turnover", "beats_best_of_k"
        )
        .join(truth, on="strategy_id")
        .join(pl.DataFrame(percentile, schema=schema, orient="row"), on="strategy_id")
        .with_columns(truth=pl.col("true_profit") / pl.col("turnover"))
    )


def world_frame(seed: int, edge: float, noise: float) -> pl.DataFrame:
    """Predictions of a simulated world as `place_bets` wants them, with the true chances beside them."""
    parts, races = [], 0
    for simulated in simulate_years(
        first_year=YEARS[0], last_year=YEARS[1], races_per_year=RACES_PER_YEAR, seed=seed, edge=edge
    ):
        parts.append(
            season_frame(simulated.season, simulated.year, noise, races, np.random.default_rng([seed, simulated.year]))
        )
        races += len(simulated.season.first)
    frame = pl.concat(parts).with_row_index("runner_key").with_columns(pl.col("runner_key").cast(pl.Int64))
    winners = pl.col("won").sum().over("race_key")
    results = frame.select(
        "race_key",
        "runner_key",
        "position",
        "won",
        dead_heat_runners=pl.when(pl.col("won") == 1).then(winners).otherwise(1),
    )
    return (
        frame.drop("position", "won")
        .join(settling_results(results).drop("race_key"), on="runner_key", how="left", maintain_order="left")
        .with_columns(
            race_known=pl.lit(True),
            price_kind=pl.lit("sp"),
            closing_price=pl.col("decision_price"),
            probability_market=pl.col("market_probability"),
            is_handicap=pl.lit(False),
        )
    )


def season_frame(
    season: Season, year: int, noise: float, races_before: int, generator: np.random.Generator
) -> pl.DataFrame:
    """One season: price, market, opinion, truth and result of every runner."""
    run, size = season.runner, season.race["runners"].astype(np.int64)
    race = np.repeat(np.arange(len(size)), size)
    truth = run["true_probability"].astype(np.float64)
    odds = decimal_ladder()[nearest_price(run["sp_implied"].astype(np.float64))]
    market = devig(odds, season.first)
    # At edge 0 the market is the truth, up to the ladder of prices: noise upon the one is noise upon the other.
    opinion = truth * np.exp(noise * generator.normal(size=len(truth)))
    opinion /= np.add.reduceat(opinion, season.first)[race]
    finished = run["outcome"] == 0
    return pl.DataFrame(
        {
            "race_date": season.race["day"].astype("datetime64[D]")[race],
            "race_key": race + races_before,
            "fold": np.full(len(truth), year),
            "field_size": size[race],
            "decision_price": odds,
            "market_probability": market,
            "probability_blend": opinion,
            "true_probability": truth,
            "position": np.where(finished, run["position"].astype(np.int64), 0),
        }
    ).with_columns(
        position=pl.when(pl.col("position") > 0).then("position"),
        won=(pl.col("position") == 1).cast(pl.Int64),
    )


def page(quiet: pl.DataFrame, planted: pl.DataFrame, arguments: argparse.Namespace, seconds: float) -> str:
    """The page of docs."""
    whole, short = (quiet.filter(pl.col("record") == name) for name in ("two seasons", f"{FEW_DAYS} days"))
    seasons = planted.filter(pl.col("record") == "two seasons")
    tricked = whole.group_by("world").agg(pl.col("beats_best_of_k").fill_null(False).any())["beats_best_of_k"]
    command = "    nice python -m benchmarks.backtest_study --out docs/backtest_study.md "
    command += f"--worlds {arguments.worlds} --edge-worlds {arguments.edge_worlds}"
    tricks = 100.0 * mean_of(tricked) if len(tricked) else 0.0
    lines = [
        "# Backtest study: do the intervals hold the truth?",
        "",
        "Written by `benchmarks/backtest_study.py`; do not edit by hand.",
        "",
        command,
        "",
        paragraph(
            f"{date.today():%-d %B %Y}, {seconds:.0f} s of processor time on a shared 2-core machine. Each world of "
            f"the simulator has some {len(YEARS) * RACES_PER_YEAR:,} races in two seasons, with the bookmaker's margin "
            "and the longshot bias. The truth of a strategy in a world is what its own bets return on average by the "
            "simulator's true chances. Prices, choice, execution, settlement and metrics are the product's; only the "
            "opinion behind the bets is made up."
        ),
        "",
        "## Without an edge",
        "",
        paragraph(
            f"Share of {arguments.worlds} worlds whose 95% interval of ROI holds the truth; a true coverage of 95% "
            f"shows as {band(arguments.worlds)} in this many worlds. *Corrected* is the interval of the product (by "
            "race day, Hall's correction for skewness); *percentile* is the plain bootstrap of race days, which it "
            "replaced because of this study. *Above*: worlds whose truth lies above the interval; 2.5% would be "
            "even-handed."
        ),
        "",
        *coverage_table(whole, "two seasons"),
        "",
        paragraph(
            f"The same worlds cut off after {FEW_DAYS} race days (worlds in which the strategy found a winner and a "
            "loser):"
        ),
        "",
        *coverage_table(short, f"{FEW_DAYS} days"),
        "",
        paragraph(
            f"In {tricks:.1f}% of these worlds (two seasons) some one of the {len(STRATEGIES)} strategies beat its "
            f"best-of-{len(STRATEGIES)} null."
        ),
        "",
        "## With a planted edge",
        "",
        paragraph(
            f"Edge {EDGE:g}, {arguments.edge_worlds} worlds of two seasons, an opinion near the true chances. "
            "*Difference* is estimate less truth in points, mean over worlds, with its standard error."
        ),
        "",
        "| strategy | bets a world | true ROI | estimated ROI | difference | covered | interval above 0 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for strategy_id in STRATEGIES:
        rows = seasons.filter(pl.col("strategy_id") == strategy_id)
        gap = (rows["roi"] - rows["truth"]).to_numpy()
        error = float(gap.std(ddof=1)) / len(gap) ** 0.5
        lines.append(
            f"| {strategy_id} | {mean_of(rows['bets']):,.0f} | {100 * mean_of(rows['truth']):+.1f}% | "
            f"{100 * mean_of(rows['roi']):+.1f}% | {100 * float(gap.mean()):+.2f} ({100 * error:.2f}) | "
            f"{100 * covered(rows, 'roi').mean():.1f}% | {100 * mean_of(rows['roi_low'] > 0):.0f}% |"
        )
    return "\n".join([*lines, "", *READING, ""])


READING = (
    "## Reading",
    "",
    "- Strategies of a world bet on the same races, so their rows are not independent of one another.",
    "- What makes money hard to judge is what an interval can't see: the long price that did not win. The percentile",
    "  interval ends too low, most of its misses have the truth above it; the corrected one reaches further up.",
    "- `blend_lay` and `blend_value_exchange` go through the synthetic exchange book; its spread is in their truth.",
    "- Not studied: each-way bets (the simulator gives no true place chances) and Kelly stakes (they stop after",
    "  losses, so stakes and results are not independent).",
)


def paragraph(text: str) -> str:
    """A paragraph of the page, wrapped."""
    return textwrap.fill(text, 118, break_on_hyphens=False)


def coverage_table(rows: pl.DataFrame, record: str) -> list[str]:
    """Coverage of both intervals by strategy."""
    lines = [
        f"| strategy ({record}) | worlds | bets a world | true ROI | corrected | above | percentile | above |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    shares = []
    for strategy_id in STRATEGIES:
        own = rows.filter((pl.col("strategy_id") == strategy_id) & pl.col("roi_low").is_not_null())
        if own.height < 2:
            continue
        corrected = covered(own, "roi").mean()
        shares.append(corrected)
        above = [mean_of(own["truth"] > own[f"{kind}_high"]) for kind in ("roi", "percentile")]
        lines.append(
            f"| {strategy_id} | {own.height} | {mean_of(own['bets']):,.0f} | {100 * mean_of(own['truth']):+.1f}% | "
            f"**{100 * corrected:.1f}%**{'' if LEVEL[0] <= corrected <= LEVEL[1] else ' (outside 93-97%)'} | "
            f"{100 * above[0]:.1f}% | {100 * covered(own, 'percentile').mean():.1f}% | {100 * above[1]:.1f}% |"
        )
    inside = sum(LEVEL[0] <= share <= LEVEL[1] for share in shares)
    return [*lines, "", f"{inside} of {len(shares)} within 93-97%; mean {100 * float(np.mean(shares)):.1f}%."]


def mean_of(values: pl.Series) -> float:
    """Mean of numbers or flags; polars allows for means of dates and words too."""
    mean = values.cast(pl.Float64).mean()
    assert isinstance(mean, float)
    return mean


def covered(rows: pl.DataFrame, kind: str) -> np.ndarray:
    """Whether each world's interval holds its truth."""
    low, high = rows[f"{kind}_low"].to_numpy(), rows[f"{kind}_high"].to_numpy()
    truth = rows["truth"].to_numpy()
    return (low <= truth) & (truth <= high)


def band(worlds: int) -> str:
    """Where a true coverage of 95% lands in that many worlds, nineteen times of twenty."""
    half = 1.96 * (0.95 * 0.05 / worlds) ** 0.5
    return f"{100 * (0.95 - half):.0f}-{100 * (0.95 + half):.0f}%"


if __name__ == "__main__":
    main()
