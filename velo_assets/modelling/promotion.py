"""The promotion gate: whether a model may replace the champion, decided so that luck can't promote it.

Belongs here: the paired comparison, the leak alarms, the runbook's acceptance table, the decision and its words.
Does not belong here: changing aliases (`registry`) and fitting anything but the one calibration slope.

A model is promoted when, on the same races and prices as its reference, all of this holds:
the interval of its gain in R2 lies above 0, no fold is clearly worse, no leak alarm rings, and its probabilities are
neither too bold nor too timid. The reference is the champion; without one, the market with its beta fitted on earlier
folds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.bootstrap import (
    DEFAULT_DRAWS,
    RACES_TIMES_GAIN,
    Interval,
    more_races_needed,
    paired_delta_r2,
)
from velo_assets.modelling.conditional_logit import ChoiceLikelihood, maximise
from velo_assets.modelling.guards import TooFewRacesError, require_columns
from velo_assets.modelling.races import FloatArray, IntArray, Races, race_sum, settled_frame

CALIBRATION_SLOPE_RANGE = (0.9, 1.1)
"""Outside it the stakes would be wrong even where the order of the runners is right."""

MINIMUM_DAYS = 30
"""Fewer race days than this can't carry a bootstrap interval: its ends are then single lucky days."""

ALARM_AUC_WITHOUT_PRICES = 0.80
ALARM_TOP_PICK_LEAD = 0.03
ALARM_DELTA_R2 = 0.02
ALARM_ROI = 0.05
ALARM_ROI_BETS = 2000
"""The alarm lines of docs/methods.md: past them a model has seen the result, whatever else it shows."""

MINIMUM_PAIRS = 1000
"""A feature with fewer (winner, loser) pairs can out-rank the market by luck: 1,000 pairs fix it to 1.6 points."""

PROBABILITY_SUM_TOLERANCE = 1e-6

TRIAL_DAYS = (30, 60, 120, 240)
"""Racing days since the training of the younger of the two after which a challenger meets the champion again, each time
on all of them: first when an interval can be had, then whenever there is twice as much to see."""

TRIAL_CLEARANCE = 2.41
"""Standard errors that its gain must lie above 0 at one of these trials. Of two equal models four looks at 1.96 would
promote one in 7% of cases; at 2.41 they do in 2.5%, as one look does (docs/gate_study.md)."""

UNPAIRED_SHARE = 0.01
"""Races that only one of the two scores may be so many of the races of both. What the champion said is stored, while
results go on being corrected: a meeting comes a day late, a runner's key changes, a runner drops out of an old race.
Such races are left out; where they are more, the two are not compared on the same ground."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Out-of-sample predictions of one recipe, with what they were made from.

    Attributes:
        name: shown in the decision, such as `champion 3` or `market_beta`.
        price_kind: kind of the prices the recipe read, such as `sp`.
        code: hash of the code that made the predictions.
        predictions: race_date, race_key, runner_key, fold, probability; null where a race had no full book.
        silent: first day and day after the last (None: no end) of times of which it can say nothing, whatever is
            done; races of these count for no one.
    """

    name: str
    price_kind: str
    code: str
    predictions: pl.DataFrame
    silent: tuple[tuple[date, date | None], ...] = ()


@dataclass(frozen=True)
class FeatureConcordance:
    """How one feature ranks runners within races, beside the market on the same pairs.

    Attributes:
        feature: share of (winner, loser) pairs in one order by the feature, whichever of both orders is commoner.
        market: share of the same pairs that the market has right.
        pairs: number of pairs with a value on both sides.
    """

    feature: float
    market: float
    pairs: int


@dataclass(frozen=True)
class LeakReadings:
    """What the leak alarms need besides the predictions. A reading left at None was not taken, and refuses promotion.

    Attributes:
        auc_without_prices: `pooled_auc` of the price-free model, out of sample.
        features: `feature_concordances` of the matrix.
        roi: return on stakes of the recipe's bets, as a fraction, with its interval; read only past 2,000 bets.
        bets: number of those bets.
    """

    auc_without_prices: float | None
    features: Mapping[str, FeatureConcordance] | None
    roi: Interval | None = None
    bets: int = 0


@dataclass(frozen=True)
class AcceptanceReadings:
    """The runbook's acceptance figures of the candidate; None where there is nothing to measure.

    Attributes:
        calibration_error: ECE, as a fraction.
        actual_over_expected_5_21: A/E of the bets at decimal odds 5 to 21.
        roi_top_20pct: ROI of the fifth of the bets with the highest edge, as a fraction.
        alpha: weight of the fundamental model in the blend.
        null_rate_by_family: share of nulls of the worst column of each feature family.
        training_rows: runners in the training window.
    """

    calibration_error: float | None = None
    actual_over_expected_5_21: float | None = None
    roi_top_20pct: float | None = None
    alpha: float | None = None
    null_rate_by_family: Mapping[str, float] = field(default_factory=dict)
    training_rows: int | None = None


@dataclass(frozen=True)
class Condition:
    """One condition of the gate.

    Attributes:
        name: short, as shown in the report.
        passed: whether it holds.
        value: what was measured; None when it could not be.
        limit: the line, in words.
        reason: one sentence with the numbers.
    """

    name: str
    passed: bool
    value: float | None
    limit: str
    reason: str


@dataclass(frozen=True)
class FoldGain:
    """Gain of one fold over the reference."""

    fold: int
    races: int
    delta_r2: Interval


@dataclass(frozen=True)
class GateDecision:
    """The gate's verdict, complete enough to be stored and read a year later.

    Attributes:
        promoted: whether every condition holds.
        challenger, reference, price_kind, code: what was compared.
        races, days: size of the comparison.
        delta_r2: gain over the reference.
        delta_r2_over_market: gain over the raw market.
        folds: gain per fold.
        conditions: in the order of the report.
        acceptance: the runbook's table; it informs, the conditions decide.
        more_races_needed: how many further races would let this gain clear 0 if it is true; None when none would.
        summary: the verdict in words.
    """

    promoted: bool
    challenger: str
    reference: str
    price_kind: str
    code: str
    races: int
    days: int
    delta_r2: Interval
    delta_r2_over_market: Interval
    folds: tuple[FoldGain, ...]
    conditions: tuple[Condition, ...]
    acceptance: tuple[dict[str, Any], ...]
    more_races_needed: int | None
    summary: str

    @property
    def failed(self) -> tuple[Condition, ...]:
        """The conditions that refuse."""
        return tuple(condition for condition in self.conditions if not condition.passed)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "promoted": self.promoted,
            "challenger": self.challenger,
            "reference": self.reference,
            "price_kind": self.price_kind,
            "code": self.code,
            "races": self.races,
            "days": self.days,
            "delta_r2": self.delta_r2.to_dict(),
            "delta_r2_over_market": self.delta_r2_over_market.to_dict(),
            "folds": [
                {"fold": fold.fold, "races": fold.races, "delta_r2": fold.delta_r2.to_dict()} for fold in self.folds
            ],
            "conditions": [dict(condition.__dict__) for condition in self.conditions],
            "acceptance": [dict(row) for row in self.acceptance],
            "more_races_needed": self.more_races_needed,
            "summary": self.summary,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> GateDecision:
        """Inverse of `to_dict`."""
        parts = {
            "delta_r2": Interval.from_dict(stored["delta_r2"]),
            "delta_r2_over_market": Interval.from_dict(stored["delta_r2_over_market"]),
            "folds": tuple(
                FoldGain(fold["fold"], fold["races"], Interval.from_dict(fold["delta_r2"])) for fold in stored["folds"]
            ),
            "conditions": tuple(Condition(**condition) for condition in stored["conditions"]),
            "acceptance": tuple(dict(row) for row in stored["acceptance"]),
        }
        return cls(**{**stored, **parts})


def decide(
    challenger: Candidate,
    reference: Candidate,
    market: Candidate,
    results: pl.DataFrame,
    leaks: LeakReadings,
    acceptance: AcceptanceReadings | None = None,
    *,
    clearance: float = 0.0,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
) -> GateDecision:
    """Compare a challenger with its reference and decide.

    Args:
        challenger: predictions of the model on trial.
        reference: predictions of the champion, or of the beta-fitted market when there is none.
        market: probabilities of the raw market on the same races, for the alarms.
        results: race_date, race_key, runner_key, win_share of every runner; races that don't settle are left out.
        leaks: readings for the alarms.
        acceptance: figures of the runbook's table.
        clearance: standard errors that the gain must lie above 0 besides, where these two are compared repeatedly.
        draws: bootstrap draws.
        seed: of the bootstrap.

    Raises:
        ValueError: if a candidate's probabilities don't sum to 1 in a race of which it knew every runner, or it has
            two predictions for a runner.
        MissingFeatureError: if a column is missing.
        TooFewRacesError: if the candidates share no settled race.
    """
    settled = settled_frame(results.select("race_date", "race_key", "runner_key", "win_share"))
    candidates = {"challenger": challenger, "reference": reference, "market": market}
    complete = {role: _complete_races(candidate, settled) for role, candidate in candidates.items()}
    shared = sorted(set.intersection(*complete.values()))
    if not shared:
        raise TooFewRacesError(
            f"promotion gate: {challenger.name}, {reference.name} and {market.name} share no settled race with full "
            "books; score them on the same folds"
        )
    frame = settled.filter(pl.col("race_key").is_in(shared))
    for role, candidate in candidates.items():
        columns = ["fold"] if role == "challenger" else []
        frame = frame.join(
            candidate.predictions.select("runner_key", pl.col("probability").alias(role), *columns),
            on="runner_key",
            how="left",
            maintain_order="left",
        )
    races = Races.from_frame(frame)
    probability = {role: frame[role].to_numpy().astype(np.float64) for role in candidates}
    loss = {role: races.loss(values) for role, values in probability.items()}
    log_n = np.log(races.field_size)
    fold = frame["fold"].to_numpy()[races.race_starts]

    gain = paired_delta_r2(loss["challenger"], loss["reference"], log_n, races.race_date, draws, seed)
    over_market = paired_delta_r2(loss["challenger"], loss["market"], log_n, races.race_date, draws, seed)
    folds = []
    for number in np.unique(fold):
        own = fold == number
        days = races.race_date[own]
        fold_gain = paired_delta_r2(loss["challenger"][own], loss["reference"][own], log_n[own], days, draws, seed)
        folds.append(FoldGain(int(number), int(own.sum()), fold_gain))
    needed = more_races_needed(gain, len(races))
    conditions = (
        _same_ground(challenger, reference, market, complete, _silent_races(reference, settled)),
        _gain_above_zero(gain, reference.name, len(races), needed, clearance),
        _no_fold_clearly_worse(folds),
        _slope_in_range(probability["challenger"], races),
        *_leak_alarms(leaks, over_market, probability["challenger"], probability["market"], races),
    )
    promoted = all(condition.passed for condition in conditions)
    return GateDecision(
        promoted=promoted,
        challenger=challenger.name,
        reference=reference.name,
        price_kind=challenger.price_kind,
        code=challenger.code,
        races=len(races),
        days=gain.days,
        delta_r2=gain,
        delta_r2_over_market=over_market,
        folds=tuple(folds),
        conditions=conditions,
        acceptance=tuple(acceptance_table(acceptance or AcceptanceReadings())),
        more_races_needed=needed,
        summary=_summary(promoted, challenger, reference, gain, conditions),
    )


def _complete_races(candidate: Candidate, settled: pl.DataFrame) -> set[int]:
    """Settled races whose runners are exactly those that the candidate gives a probability.

    A race that gained, lost or renamed a runner since is another race: the stored probabilities say nothing of it.
    """
    require_columns(
        candidate.predictions,
        ("race_date", "race_key", "runner_key", "fold", "probability"),
        f"promotion gate, predictions of {candidate.name}",
    )
    if candidate.predictions["runner_key"].is_duplicated().any():
        raise ValueError(
            f"promotion gate: {candidate.name} has two predictions for some runner; give one recipe and one price kind"
        )
    given = candidate.predictions.select("race_key", "runner_key", "probability")
    by_race = (
        settled.select("race_key", "runner_key")
        .join(given, on=["race_key", "runner_key"], how="left")
        .group_by("race_key")
        .agg(
            pl.len().alias("runners"),
            pl.col("probability").sum().alias("total"),
            (pl.col("probability").is_null() | pl.col("probability").is_nan()).any().alias("gap"),
        )
        .join(given.group_by("race_key").agg(pl.len().alias("given")), on="race_key")
        .filter(~pl.col("gap") & (pl.col("given") == pl.col("runners")))
    )
    wrong = by_race.filter((pl.col("total") - 1.0).abs() > PROBABILITY_SUM_TOLERANCE)
    if wrong.height:
        raise ValueError(
            f"promotion gate: probabilities of {candidate.name} sum to {wrong['total'][0]:.6f} in race "
            f"{wrong['race_key'][0]} ({wrong.height} such races); normalise them within the race"
        )
    return set(by_race["race_key"].to_list())


def _silent_races(candidate: Candidate, settled: pl.DataFrame) -> set[int]:
    """Races of the times of which the candidate can say nothing."""
    day = pl.col("race_date")
    silent = pl.any_horizontal(
        pl.lit(False), *((day >= first) & (True if end is None else day < end) for first, end in candidate.silent)
    )
    return set(settled.filter(silent)["race_key"].to_list())


def _same_ground(
    challenger: Candidate,
    reference: Candidate,
    market: Candidate,
    complete: Mapping[str, set[int]],
    silent: set[int],
) -> Condition:
    differences: list[str] = []
    told: list[str] = []
    if len({challenger.price_kind, reference.price_kind, market.price_kind}) > 1:
        differences.append(
            f"prices differ ({challenger.name}: {challenger.price_kind}, {reference.name}: {reference.price_kind}, "
            f"{market.name}: {market.price_kind})"
        )
    either = (complete["challenger"] | complete["reference"]) - silent
    unpaired = len((complete["challenger"] ^ complete["reference"]) - silent)
    if unpaired:
        words = f"{unpaired:,} of {len(either):,} races are scored by one of the two only"
        (differences if unpaired > UNPAIRED_SHARE * len(either) else told).append(words)
    if silent:
        told.append(f"{reference.name} can say nothing of {len(silent):,} races")
    # New code is a good reason to be better, and the stored predictions can't be made again by code that is gone.
    if challenger.code != reference.code:
        told.append(f"{reference.name} was scored by code {reference.code}, {challenger.name} by {challenger.code}")
    advice = (
        "`velo run` builds the walk-forward anew"
        if reference.name.startswith("market")
        else f"`velo retire` sets {reference.name} aside; the version trained next is held against the market"
    )
    return Condition(
        name="same races and prices",
        passed=not differences,
        value=float(unpaired),
        limit=f"one kind of prices, at most {UNPAIRED_SHARE:.0%} of the races unpaired",
        reason="; ".join([*differences, *told, *([advice] if differences else [])]) or "paired in full",
    )


def _gain_above_zero(gain: Interval, reference: str, races: int, needed: int | None, clearance: float) -> Condition:
    # The lower end of the two-sided 95% interval: stricter than a one-sided 95% bound. A gain of .005 clears either
    # within 1,000 races, and a gate that is tried again with every training needs the smaller rate of lucky passes.
    # The choice between two recipes costs nothing of it, as each fold is judged by what the folds before it chose
    # (`betting.backtest.shipped_by_fold`); judged by the final choice, luck would pass up to twice as often
    # (docs/gate_study.md).
    clear = gain.estimate > clearance * gain.standard_error
    passed = gain.low > 0 and clear and gain.days >= MINIMUM_DAYS
    measured = f"dR2 {gain.estimate:+.5f} [{gain.low:+.5f}, {gain.high:+.5f}] over {reference} on {races:,} races"
    if gain.days < MINIMUM_DAYS:
        reason = f"{measured}: only {gain.days} race days, at least {MINIMUM_DAYS} needed"
    elif passed:
        reason = measured
    elif gain.low > 0:
        reason = (
            f"{measured}: {gain.estimate / gain.standard_error:.2f} standard errors, {clearance} needed where two are "
            "compared repeatedly"
        )
    elif needed is None:
        reason = f"{measured}: no gain, so no number of further races would show one"
    else:
        reason = (
            f"{measured}: if this gain is true, about {needed:,} more races are needed before its interval clears 0 "
            f"(rule of thumb for z = 2 in all: {RACES_TIMES_GAIN / gain.estimate:,.0f})"
        )
    return Condition("gain above 0", passed, gain.low, "lower 95% bound of dR2 above 0", reason)


def _no_fold_clearly_worse(folds: Sequence[FoldGain]) -> Condition:
    # Of two equal models one is "clearly worse" in a quarter of all years that are two days old.
    worse = [fold for fold in folds if fold.delta_r2.days >= MINIMUM_DAYS and fold.delta_r2.high < 0]
    lowest = min(folds, key=lambda fold: fold.delta_r2.estimate)
    reason = (
        "; ".join(
            f"fold {fold.fold}: dR2 {fold.delta_r2.estimate:+.5f}, at most {fold.delta_r2.high:+.5f}" for fold in worse
        )
        or f"lowest fold {lowest.fold}: dR2 {lowest.delta_r2.estimate:+.5f}, at most {lowest.delta_r2.high:+.5f}"
    )
    return Condition(
        "no fold clearly worse",
        not worse,
        lowest.delta_r2.high if not math.isnan(lowest.delta_r2.high) else None,
        f"no fold of {MINIMUM_DAYS} race days or more whose upper 95% bound of dR2 is below 0",
        reason,
    )


def calibration_slope(probability: FloatArray, races: Races) -> float:
    """Slope of recalibration within races: the `b` of `p^b / sum p^b` that is most likely.

    1 is calibrated, below 1 too bold, above 1 too timid. (An intercept would cancel within a race.)

    Args:
        probability: `(runners,)`, sums to 1 in each race.
        races: settled races.
    """
    log_probability = np.log(np.maximum(probability, 1e-12))[:, None]
    return float(maximise(ChoiceLikelihood(log_probability, races), np.ones(1)).coefficients[0])


def _slope_in_range(probability: FloatArray, races: Races) -> Condition:
    low, high = CALIBRATION_SLOPE_RANGE
    name, limit = "calibration slope", f"within [{low}, {high}]"
    try:
        slope = calibration_slope(probability, races)
    except ArithmeticError:
        # Winners named without a miss: the likelihood rises with the slope for ever. That is a reason to refuse.
        return Condition(name, False, None, limit, "the slope has no finite value: every winner is named")
    passed = low <= slope <= high
    verdict = "" if passed else (": too bold" if slope < low else ": too timid")
    return Condition(name, passed, slope, limit, f"slope {slope:.3f}{verdict}")


def _leak_alarms(
    leaks: LeakReadings, over_market: Interval, challenger: FloatArray, market: FloatArray, races: Races
) -> tuple[Condition, ...]:
    auc = leaks.auc_without_prices
    strike, favourite = top_pick_strike_rate(challenger, races), top_pick_strike_rate(market, races)
    lead = strike - favourite
    alarms = [
        _alarm(
            "AUC without prices",
            auc,
            auc is not None and auc <= ALARM_AUC_WITHOUT_PRICES,
            f"at most {ALARM_AUC_WITHOUT_PRICES}",
            f"pooled AUC {auc:.3f}" if auc is not None else "",
        )
    ]
    judged = {name: item for name, item in (leaks.features or {}).items() if item.pairs >= MINIMUM_PAIRS}
    best = max(judged, key=lambda name: judged[name].feature - judged[name].market, default=None)
    alarms.append(
        _alarm(
            "single feature against market",
            judged[best].feature if best else None,
            best is not None and judged[best].feature <= judged[best].market,
            "ranks at most as well as the market",
            f"{best} orders {judged[best].feature:.1%} of {judged[best].pairs:,} pairs, the market "
            f"{judged[best].market:.1%}"
            if best
            else "",
        )
    )
    alarms.append(
        _alarm(
            "top pick against favourite",
            lead,
            lead <= ALARM_TOP_PICK_LEAD,
            f"lead at most {ALARM_TOP_PICK_LEAD:.0%}",
            f"top pick wins {strike:.1%}, the favourite {favourite:.1%}",
        )
    )
    alarms.append(
        _alarm(
            "gain over the market",
            over_market.estimate,
            over_market.estimate <= ALARM_DELTA_R2,
            f"dR2 at most {ALARM_DELTA_R2}",
            f"dR2 {over_market.estimate:+.5f} over the raw market",
        )
    )
    alarms.append(_return_alarm(leaks))
    return tuple(alarms)


def _return_alarm(leaks: LeakReadings) -> Condition:
    name, limit = "return on stakes", f"at most {ALARM_ROI:.0%} on more than {ALARM_ROI_BETS:,} bets"
    if not leaks.bets:
        return Condition(f"leak alarm: {name}", True, None, limit, "no bets")
    if leaks.roi is None:
        return _alarm(name, None, False, limit, "")
    # The lower end of the interval, not the estimate: on 2,000 bets at all odds luck alone moves the ROI by 19 points
    # (docs/methods.md), and an honest dR2 of .004 returns over 5% in half of the worlds (docs/gate_study.md).
    low = leaks.roi.low
    silent = leaks.bets <= ALARM_ROI_BETS or not low > ALARM_ROI
    ends = f" [{low:+.1%}, {leaks.roi.high:+.1%}]" if np.isfinite(low) else ""
    reading = f"ROI {leaks.roi.estimate:+.1%}{ends} on {leaks.bets:,} bets"
    return _alarm(name, leaks.roi.estimate, silent, f"lower 95% bound {limit}", reading)


def _alarm(name: str, value: float | None, silent: bool, limit: str, reading: str) -> Condition:
    if value is None:
        return Condition(
            f"leak alarm: {name}", False, None, limit, "not measured: a reading that is missing is no pass"
        )
    return Condition(
        f"leak alarm: {name}", silent, value, limit, reading if silent else f"{reading}: too good, look for a leak"
    )


def _summary(
    promoted: bool, challenger: Candidate, reference: Candidate, gain: Interval, conditions: Sequence[Condition]
) -> str:
    if promoted:
        return (
            f"passed: {challenger.name} gains dR2 {gain.estimate:+.5f} [{gain.low:+.5f}, {gain.high:+.5f}] over "
            f"{reference.name}, and every condition holds"
        )
    failed = "; ".join(f"{item.name}: {item.reason}" for item in conditions if not item.passed)
    no_edge = "no edge over the closing price. " if reference.name.startswith("market") and not gain.low > 0 else ""
    return f"refused: {no_edge}{failed}"


def top_pick_strike_rate(probability: FloatArray, races: Races) -> float:
    """Share of races won by the runner with the highest probability; joint top picks share the race.

    Args:
        probability: `(runners,)`.
        races: settled races.
    """
    top = np.maximum.reduceat(probability, races.race_starts)
    picked = probability == np.repeat(top, races.field_size)
    hits = race_sum(picked * races.win_share, races.race_starts) / race_sum(picked.astype(float), races.race_starts)
    return float(hits.mean())


def pooled_auc(score: FloatArray, won: FloatArray) -> float:
    """Area under the ROC curve over all runners of all races, ties counted half.

    Args:
        score: `(runners,)`, higher is likelier; no NaN.
        won: `(runners,)`, above 0 for winners.

    Raises:
        TooFewRacesError: if there is no winner or no loser.
    """
    from scipy.stats import rankdata

    winners = won > 0
    count, losers = int(winners.sum()), int((~winners).sum())
    if not count or not losers:
        raise TooFewRacesError("AUC: no winner or no loser among the runners; give settled races")
    ranks = rankdata(score)
    return float((ranks[winners].sum() - count * (count + 1) / 2) / (count * losers))


def winner_loser_pairs(races: Races) -> tuple[IntArray, IntArray]:
    """Row numbers of every (winner, loser) pair of the same race; each dead-heater is a winner.

    Args:
        races: settled races.

    Returns:
        Two arrays `(pairs,)`: rows of winners, rows of losers.
    """
    winners = np.flatnonzero(races.win_share > 0)
    race = np.searchsorted(races.race_starts, winners, side="right") - 1
    sizes = races.field_size[race]
    first = np.repeat(races.race_starts[race] - np.concatenate(([0], np.cumsum(sizes)[:-1])), sizes)
    rivals = np.arange(int(sizes.sum())) + first
    losers = races.win_share[rivals] == 0
    return np.repeat(winners, sizes)[losers], rivals[losers]


def feature_concordances(
    matrix: NDArray[np.float32], names: Sequence[str], market: FloatArray, races: Races
) -> dict[str, FeatureConcordance]:
    """How well each single feature orders winners before losers, beside the market on the same pairs.

    Ties count half. A feature that is low for good runners counts as its reverse. Pairs with a missing value are left
    out on both sides, so a feature known only in clear-cut races is held against the market in those races.

    Args:
        matrix: `(runners, features)`, NaN where missing.
        names: of the features.
        market: `(runners,)` market probability.
        races: settled races.

    Returns:
        By feature name; features without a pair are left out.
    """
    winners, losers = winner_loser_pairs(races)
    market_right = _in_order(market[winners] - market[losers])
    result = {}
    for position, name in enumerate(names):
        difference = matrix[winners, position] - matrix[losers, position]
        known = ~np.isnan(difference)
        pairs = int(known.sum())
        if pairs:
            share = float(_in_order(difference[known]).mean())
            result[name] = FeatureConcordance(max(share, 1.0 - share), float(market_right[known].mean()), pairs)
    return result


def _in_order(difference: NDArray[np.floating[Any]]) -> FloatArray:
    return np.where(difference > 0, 1.0, np.where(difference == 0, 0.5, 0.0))


def acceptance_table(readings: AcceptanceReadings) -> list[dict[str, Any]]:
    """The runbook's acceptance table: figure, target, value, and whether the target is met (None: not measured)."""
    rates = readings.null_rate_by_family
    worst = max(rates, key=lambda family: rates[family]) if rates else None
    rows: list[tuple[str, str, float | None, bool | None]] = []

    def add(figure: str, target: str, value: float | None, met: bool) -> None:
        rows.append((figure, target, value, None if value is None or math.isnan(value) else met))

    value = readings.calibration_error
    add("calibration error", "<= 2.3%", value, value is not None and value <= 0.023)
    value = readings.actual_over_expected_5_21
    add("A/E at odds 5-21", ">= 1.03", value, value is not None and value >= 1.03)
    value = readings.roi_top_20pct
    add("ROI of the top 20% by edge", ">= 0%", value, value is not None and value >= 0.0)
    value = readings.alpha
    add("alpha of the blend", "0.3 to 0.5", value, value is not None and 0.3 <= value <= 0.5)
    value = rates[worst] if worst is not None else None
    figure = "null rate per family" if worst is None else f"null rate per family (worst: {worst})"
    add(figure, "< 2%", value, value is not None and value < 0.02)
    rows_trained = readings.training_rows
    value = None if rows_trained is None else float(rows_trained)
    add("training rows", "> 50,000", value, value is not None and value > 50_000)
    return [{"figure": name, "target": target, "value": v, "met": met} for name, target, v, met in rows]
