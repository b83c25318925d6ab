"""Does the promotion gate refuse luck, see a real gain, and notice a leak? A study over simulated worlds.

Each world is small: races with features, a market and winners, simulated at the level of the feature matrix (not as
raceform files), so that hundreds of them can be run. What is on trial is real: trees, linear logit, blend, the de-vig
of their prices, the day bootstrap and the gate. The loop over the folds is the study's own.

    python -m benchmarks.gate_study --out docs/gate_study.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import choice_study
from velo_assets.modelling.bootstrap import roi_interval
from velo_assets.modelling.fundamental import FundamentalSettings
from velo_assets.modelling.market import MINIMUM_ODDS, devig
from velo_assets.modelling.promotion import (
    ALARM_ROI,
    Candidate,
    GateDecision,
    LeakReadings,
    decide,
    feature_concordances,
    pooled_auc,
)
from velo_assets.modelling.races import KEYS, Races, feature_matrix, race_softmax
from velo_assets.modelling.softmax import BoosterSettings
from velo_assets.modelling.walk_forward import FoldPlan, run_walk_forward

YEARS = 4
"""One year of history and three scored folds."""
RACES_A_YEAR = 2_680
"""134 days; three scored years hold 8,040 races."""
RACES_A_DAY = 20
PUBLIC_SPREAD = 0.75
"""Log-odds spread of what the features tell and the market knows: price-free R2 of about .12 at eight runners."""
INSIDE_SPREAD = 0.55
"""Log-odds spread of what only the market knows: with it the market's R2 is about .19, as measured on Betfair SP."""
MARKET_BOLDNESS = 0.95
"""The market's exponent: longshots a little over-bet, so that the beta-fitted market is not the raw one."""
BOOK_EXPONENT = 0.89
"""Prices are `p^0.89`: a book of about 1.23, as the closing tote prices of Hong Kong."""
PLANTED_SPREAD = 0.30
"""Log-odds spread of what the features tell and the market misses. Worth a dR2 of .017 to the truth, .0054 to the best
blend of a perfect fundamental model with the market, and somewhat less to models that had to learn it."""
LEAK_NOISE = 0.6
"""Noise on the performance of the day in the leaked rating: the winner then has the best one in about 77% of races, as
the same-row racing post rating does (docs/methods.md)."""

SETTINGS = FundamentalSettings(
    booster=BoosterSettings(
        rounds=30, learning_rate=0.15, num_leaves=8, min_data_in_leaf=100, early_stopping_rounds=10
    ),
    seeds=(11,),
    min_races=300,
)
PLAN = FoldPlan(first_train_years=1, warm_up_years=0)


@dataclass(frozen=True)
class World:
    """A simulated racing world: runners with features, prices, results, and the truth."""

    frame: pl.DataFrame
    features: tuple[str, ...]
    truth: np.ndarray


def simulate(seed: int, planted_spread: float = 0.0, leaked: bool = False) -> World:
    """One world.

    Args:
        seed: of everything in it.
        planted_spread: log-odds spread of what the features know and the market lacks; 0: the market is sufficient.
        leaked: whether the matrix holds a rating given after the race.
    """
    generator = np.random.default_rng(seed)
    races = YEARS * RACES_A_YEAR
    sizes = generator.integers(6, 13, size=races)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    runners = int(sizes.sum())
    public = generator.normal(size=(runners, 6))
    planted = generator.normal(size=(runners, 2))
    # One of the planted signals acts only above its mean: a shape for the trees to find.
    hidden = planted_spread * (0.8 * planted[:, 0] + 1.0 * np.maximum(planted[:, 1], 0.0))
    known = PUBLIC_SPREAD * public @ np.array([0.7, 0.5, 0.4, 0.3, 0.1, 0.0])
    known += INSIDE_SPREAD * generator.normal(size=runners)
    true_score = known + hidden
    performance = true_score + generator.gumbel(size=runners)
    won = performance == np.repeat(np.maximum.reduceat(performance, starts), sizes)
    fair = race_softmax(MARKET_BOLDNESS * known, starts)
    odds = np.maximum(fair**-BOOK_EXPONENT, MINIMUM_ODDS)
    day = np.arange(races) // RACES_A_DAY
    days_a_year = int(np.ceil(RACES_A_YEAR / RACES_A_DAY))
    first_days = np.array([np.datetime64(f"{2018 + year}-01-01") for year in range(YEARS)])
    race_date = first_days[np.minimum(day // days_a_year, YEARS - 1)] + (day % days_a_year) * (364 // days_a_year)
    columns = {
        "race_date": np.repeat(race_date, sizes),
        "race_key": np.repeat(np.arange(races), sizes),
        "runner_key": np.arange(runners),
        "win_share": won.astype(np.float64),
        "decimal_odds": odds,
        "market_probability": devig(odds, starts),
        **{f"public_{number}": public[:, number] for number in range(public.shape[1])},
        **{f"planted_{number}": planted[:, number] for number in range(planted.shape[1])},
    }
    if leaked:
        columns["same_row_rating"] = performance + LEAK_NOISE * generator.normal(size=runners)
    frame = pl.DataFrame(columns).cast({"race_date": pl.Date})
    return World(frame, tuple(frame.columns[6:]), race_softmax(true_score, starts))


def trial(world: World) -> GateDecision:
    """Walk the recipe forward through a world and take it to the gate, against the beta-fitted market."""
    run = run_walk_forward(world.frame, world.features, PLAN, fundamental=SETTINGS, with_experts=False)

    def candidate(recipe: str) -> Candidate:
        return Candidate(recipe, "sp", "study", run.predictions.filter(pl.col("recipe") == recipe))

    fundamental, blend = candidate("fundamental"), candidate("blend")
    scored = world.frame.filter(pl.col("race_date") >= pl.lit(date(2019, 1, 1))).sort(KEYS)
    races = Races.from_frame(scored)
    score = scored.join(fundamental.predictions, on="runner_key", how="left", maintain_order="left")[
        "probability"
    ].to_numpy()
    chance = scored.join(blend.predictions, on="runner_key", how="left", maintain_order="left")[
        "probability"
    ].to_numpy()
    odds, won = scored["decimal_odds"].to_numpy(), scored["win_share"].to_numpy()
    bet = chance * odds > 1.0
    profit = np.where(won[bet] > 0, odds[bet] - 1.0, -1.0)
    leaks = LeakReadings(
        auc_without_prices=pooled_auc(score, won),
        features=feature_concordances(
            feature_matrix(scored, world.features), world.features, scored["market_probability"].to_numpy(), races
        ),
        roi=roi_interval(profit, np.ones(len(profit)), races.spread(races.race_date)[bet]) if len(profit) else None,
        bets=int(bet.sum()),
    )
    return decide(blend, candidate("market_beta"), candidate("market"), scored, leaks)


@dataclass(frozen=True)
class Arm:
    """One kind of world.

    Attributes:
        name: of the arm.
        worlds: how many.
        first_seed: worlds take consecutive seeds from here; no two arms share one.
        make: a world from a seed.
        target: what the gate must do, in words.
        hit: whether a decision is the one wanted, or to be counted.
    """

    name: str
    worlds: int
    first_seed: int
    make: Callable[[int], World]
    target: str
    hit: Callable[[GateDecision], bool]


def arms(worlds: int, leak_worlds: int) -> tuple[Arm, ...]:
    """The three arms of the study."""
    return (
        Arm("edge 0", worlds, 1_000, simulate, "at most 5% promoted", lambda decision: decision.promoted),
        Arm(
            "planted gain",
            worlds,
            2_000,
            lambda seed: simulate(seed, planted_spread=PLANTED_SPREAD),
            "at least 90% promoted",
            lambda decision: decision.promoted,
        ),
        Arm(
            "leak planted",
            leak_worlds,
            3_000,
            lambda seed: simulate(seed, leaked=True),
            "alarm in every world, none promoted",
            lambda decision: bool(alarms(decision)) and not decision.promoted,
        ),
    )


def alarms(decision: GateDecision) -> list[str]:
    """Names of the leak alarms that rang."""
    return [condition.name for condition in decision.failed if condition.name.startswith("leak alarm")]


def rate_interval(hits: int, worlds: int) -> tuple[float, float]:
    """Exact (Clopper-Pearson) 95% interval of a rate."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, worlds - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, worlds - hits)) if hits < worlds else 1.0
    return low, high


def report(results: list[tuple[Arm, list[GateDecision], list[float]]], command: str, seconds: float) -> str:
    """The study as Markdown."""
    lines = [
        "# Gate study: does the promotion gate refuse luck?",
        "",
        "Written by `benchmarks/gate_study.py`; do not edit by hand.",
        "",
        f"    {command}",
        "",
        "Simulated worlds at the level of the feature matrix: 8 features (9 with the leak), 6 to 12 runners a race,",
        f"one year of history, three scored folds ({(YEARS - 1) * RACES_A_YEAR:,} races), prices in a book of 1.23.",
        "What runs in them is real: trees with linear logit, blend, power de-vig, the 2,000-draw day bootstrap, the",
        "gate. The loop over the folds is the study's own (`run_walk_forward`): without a warm-up year the first blend",
        "learns from inner races, and there are no experts. The reference is the market with its beta fitted on",
        "earlier folds. It took",
        f"{seconds / 60:.0f} minutes on one thread of a busy 2-core machine.",
        "",
        "| arm | worlds | target | reached | 95% interval | mean dR2 over reference | its spread | dR2 of the truth |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm, decisions, truths in results:
        hits = sum(arm.hit(decision) for decision in decisions)
        low, high = rate_interval(hits, len(decisions))
        gains = np.array([decision.delta_r2.estimate for decision in decisions])
        lines.append(
            f"| {arm.name} | {len(decisions)} | {arm.target} | {hits}/{len(decisions)} = {hits / len(decisions):.1%} | "
            f"{low:.1%} to {high:.1%} | {gains.mean():+.5f} | {gains.std(ddof=1):.5f} | {np.mean(truths):+.5f} |"
        )
    lines += ["", "## What refused, by condition (a world may fail several)", ""]
    names = [condition.name for condition in results[0][1][0].conditions]
    lines += [f"| condition | {' | '.join(arm.name for arm, _, _ in results)} |", "|---|" + "---|" * len(results)]
    for name in names:
        counts = [sum(name in {item.name for item in decision.failed} for decision in got) for _, got, _ in results]
        lines.append(f"| {name} | {' | '.join(str(count) for count in counts)} |")
    honest = returns(results[1][1])
    lines += ["", "## What simpler rules would have promoted", ""]
    rules: dict[str, Callable[[GateDecision], bool]] = {
        "R2 above the raw market": lambda decision: decision.delta_r2_over_market.estimate > 0,
        "R2 above the reference": lambda decision: decision.delta_r2.estimate > 0,
        "one-sided lower 95% bound above 0, nothing else": lambda decision: decision.delta_r2.lower_95_one_sided > 0,
        "the gate": lambda decision: decision.promoted,
    }
    lines += [f"| rule | {' | '.join(arm.name for arm, _, _ in results)} |", "|---|" + "---|" * len(results)]
    for rule, passes in rules.items():
        shares = [f"{sum(map(passes, decisions)) / len(decisions):.1%}" for _, decisions, _ in results]
        lines.append(f"| {rule} | {' | '.join(shares)} |")
    lines += [
        "",
        "Reading: the truth knows what the features hide and what only the market knows; no recipe can reach its dR2,",
        "because one fundamental score mixes what the market lacks with what it has priced. The ROI alarm reads the",
        "lower 95% bound. The honest model's flat bets (every runner it thinks worth its price) return on average",
        f"{np.mean(honest):+.1%} in the planted arm, +5% or more in {np.mean(np.array(honest) > ALARM_ROI):.0%} of its",
        "worlds: an alarm at an estimate of +5% would refuse many of the gains that the gate has to see.",
        "",
        *choice_study.section(),
    ]
    return "\n".join(lines)


def returns(decisions: Iterable[GateDecision]) -> list[float]:
    """ROI of the recipe's bets in each world."""
    return [
        condition.value
        for decision in decisions
        for condition in decision.conditions
        if condition.name == "leak alarm: return on stakes" and condition.value is not None
    ]


def truth_gain(world: World) -> float:
    """dR2 of the true probabilities over the reference, on all races of the world."""
    from velo_assets.modelling.blend import fit_market_beta

    ordered = world.frame.with_columns(truth=pl.Series(world.truth)).sort(KEYS)
    races = Races.from_frame(ordered)
    log_market = np.log(ordered["market_probability"].to_numpy())
    exponent = float(fit_market_beta(ordered).coefficients[0])
    return races.r2(ordered["truth"].to_numpy()) - races.r2(races.softmax(exponent * log_market))


def main() -> None:
    """Run the study and write its report."""
    import os

    # Forty small fits a minute spend their time handing work between threads; one thread is faster.
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=60, help="worlds without edge, and as many with a planted gain")
    parser.add_argument("--leak-worlds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("docs/gate_study.md"))
    arguments = parser.parse_args()
    began = time.monotonic()
    results: list[tuple[Arm, list[GateDecision], list[float]]] = []
    for arm in arms(arguments.worlds, arguments.leak_worlds):
        decisions: list[GateDecision] = []
        truths: list[float] = []
        for seed in range(arm.first_seed, arm.first_seed + arm.worlds):
            world = arm.make(seed)
            decisions.append(trial(world))
            truths.append(truth_gain(world))
            hits = sum(map(arm.hit, decisions))
            print(f"{arm.name} {len(decisions)}/{arm.worlds}: {hits} hits; {decisions[-1].summary[:150]}", flush=True)
        results.append((arm, decisions, truths))
    command = (
        f"python -m benchmarks.gate_study --worlds {arguments.worlds} --leak-worlds {arguments.leak_worlds} "
        f"--out {arguments.out}"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(report(results, command, time.monotonic() - began))


if __name__ == "__main__":
    main()
