"""The gate promotes a real gain, and refuses luck, leaks and unlike comparisons with a reason."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling import promotion
from velo_assets.modelling.bootstrap import Interval
from velo_assets.modelling.guards import MissingFeatureError, TooFewRacesError
from velo_assets.modelling.races import Races, race_softmax

RUNNERS = 8


class World:
    """Races of eight runners: the market sees one part of the truth, the model a small other part."""

    def __init__(self, races: int = 1600, per_day: int = 10, hidden: float = 0.35, seed: int = 3) -> None:
        generator = np.random.default_rng(seed)
        self.starts = np.arange(races) * RUNNERS
        self.seen = generator.normal(size=races * RUNNERS)
        self.hidden = hidden * generator.normal(size=races * RUNNERS)
        truth = race_softmax(self.seen + self.hidden, self.starts).reshape(races, RUNNERS)
        winner = (truth.cumsum(axis=1) > generator.random((races, 1))).argmax(axis=1)
        win_share = (winner[:, None] == np.arange(RUNNERS)).astype(float).ravel()
        dates = np.repeat(np.datetime64("2020-01-01") + np.arange(races) // per_day, RUNNERS)
        self.results = pl.DataFrame(
            {
                "race_date": dates,
                "race_key": np.repeat(np.arange(races), RUNNERS),
                "runner_key": np.arange(races * RUNNERS),
                "win_share": win_share,
            }
        ).cast({"race_date": pl.Date})
        self.fold = np.repeat(2020 + (np.arange(races) * 2) // races, RUNNERS)

    def candidate(
        self, name: str, scores: np.ndarray, price_kind: str = "sp", code: str = "abc"
    ) -> promotion.Candidate:
        predictions = self.results.drop("win_share").with_columns(
            fold=pl.Series(self.fold), probability=pl.Series(race_softmax(scores, self.starts))
        )
        return promotion.Candidate(name, price_kind, code, predictions)

    @property
    def market(self) -> promotion.Candidate:
        return self.candidate("market", self.seen)

    @property
    def truth(self) -> promotion.Candidate:
        return self.candidate("blend 2", self.seen + self.hidden)


def roi(estimate: float) -> Interval:
    """A return known to within six points."""
    return Interval(estimate, estimate - 0.06, estimate + 0.06, estimate - 0.05, 0.03, 2000, 200)


CLEAN = promotion.LeakReadings(
    auc_without_prices=0.7,
    features={"form_ewma": promotion.FeatureConcordance(0.60, 0.75, 20_000)},
    roi=roi(0.02),
    bets=3000,
)


def decide(world: World, challenger: promotion.Candidate, **changes: object) -> promotion.GateDecision:
    arguments = {
        "reference": world.market,
        "market": world.market,
        "results": world.results,
        "leaks": CLEAN,
        "draws": 400,
    }
    return promotion.decide(challenger, **{**arguments, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def failed(decision: promotion.GateDecision) -> set[str]:
    return {condition.name for condition in decision.failed}


def test_a_real_gain_is_promoted(world: World) -> None:
    # A hidden spread of .2 is worth about .008 of R2, which 5,000 races show and no alarm takes for a leak.
    fair = World(races=5000, hidden=0.2)
    decision = decide(fair, fair.truth)
    assert decision.promoted, decision.summary
    assert decision.races == 5000
    assert decision.days == 500
    assert [fold.fold for fold in decision.folds] == [2020, 2021]
    assert decision.more_races_needed == 0
    assert promotion.GateDecision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision


def test_the_market_itself_is_refused_in_words(world: World) -> None:
    decision = decide(world, replace(world.market, name="blend 1"))
    assert failed(decision) == {"gain above 0"}
    assert decision.delta_r2.estimate == 0.0
    assert decision.more_races_needed is None
    assert "no edge over the closing price" in decision.summary
    assert "no number of further races" in decision.summary


def test_a_small_gain_asks_for_more_races() -> None:
    small = World(races=400, hidden=0.12, seed=1)
    decision = decide(small, small.truth)
    assert 0 < decision.delta_r2.estimate < decision.delta_r2.high
    assert failed(decision) == {"gain above 0"}
    z = decision.delta_r2.estimate / decision.delta_r2.standard_error
    assert decision.more_races_needed == pytest.approx(400 * ((1.96 / z) ** 2 - 1), abs=1)
    assert f"about {decision.more_races_needed:,} more races" in decision.summary


def test_few_days_never_promote(world: World) -> None:
    crowded = World(races=1600, per_day=100)
    decision = decide(crowded, crowded.truth)
    assert decision.delta_r2.low > 0
    assert "only 16 race days" in decision.summary


def test_a_fold_that_is_clearly_worse_refuses(world: World) -> None:
    # The first fold knows the hidden part, the second believes its reverse, at half its size.
    sign = np.where(world.fold == 2020, 1.0, -0.5)
    strong = World(hidden=0.6)
    decision = decide(strong, strong.candidate("blend 2", strong.seen + sign * strong.hidden))
    assert "no fold clearly worse" in failed(decision)
    assert "fold 2021" in decision.summary


def test_a_fold_of_a_few_days_refuses_nobody() -> None:
    # The second fold holds ten days in which the model believes the reverse of the hidden part.
    strong = World(races=2000, hidden=0.6)
    strong.fold = np.where(np.arange(2000 * RUNNERS) // RUNNERS < 1900, 2020, 2021)
    sign = np.where(strong.fold == 2020, 1.0, -1.0)
    decision = decide(strong, strong.candidate("blend 2", strong.seen + sign * strong.hidden))
    assert decision.folds[1].delta_r2.high < 0
    assert "no fold clearly worse" not in failed(decision)


def test_a_bold_model_fails_on_its_slope(world: World) -> None:
    decision = decide(world, world.candidate("blend 2", 1.5 * (world.seen + world.hidden)))
    slope = next(item for item in decision.conditions if item.name == "calibration slope")
    assert slope.value == pytest.approx(1 / 1.5, abs=0.06)
    assert "too bold" in slope.reason


def test_a_model_that_has_seen_the_result_trips_the_alarms(world: World) -> None:
    leaked = world.candidate("leak", world.seen + world.results["win_share"].to_numpy())
    decision = decide(world, leaked)
    assert not decision.promoted
    assert {"leak alarm: top pick against favourite", "leak alarm: gain over the market"} <= failed(decision)
    perfect = decide(world, world.candidate("oracle", 8.0 * world.results["win_share"].to_numpy()))
    assert "calibration slope" in failed(perfect)


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        ({"auc_without_prices": 0.81}, "AUC without prices"),
        ({"auc_without_prices": None}, "AUC without prices"),
        ({"features": {"rpr": promotion.FeatureConcordance(0.9, 0.75, 5000)}}, "single feature against market"),
        ({"features": None}, "single feature against market"),
        ({"roi": roi(0.12)}, "return on stakes"),
        ({"roi": None}, "return on stakes"),
    ],
)
def test_each_reading_has_its_alarm(world: World, change: dict[str, object], alarm: str) -> None:
    decision = decide(world, world.market, leaks=replace(CLEAN, **change))  # type: ignore[arg-type]
    assert f"leak alarm: {alarm}" in failed(decision)


def test_luck_over_few_bets_or_pairs_rings_no_alarm(world: World) -> None:
    rare = {"rare": promotion.FeatureConcordance(1.0, 0.7, 3), **CLEAN.features}  # type: ignore[dict-item]
    decision = decide(world, world.market, leaks=replace(CLEAN, roi=roi(0.5), bets=300, features=rare))
    assert failed(decision) == {"gain above 0"}


def test_a_high_return_within_luck_rings_no_alarm(world: World) -> None:
    assert failed(decide(world, world.market, leaks=replace(CLEAN, roi=roi(0.10)))) == {"gain above 0"}
    assert failed(decide(world, world.market, leaks=replace(CLEAN, roi=None, bets=0))) == {"gain above 0"}


def ground(decision: promotion.GateDecision) -> promotion.Condition:
    return next(condition for condition in decision.conditions if condition.name == "same races and prices")


def scored(world: World, keep: pl.Expr, name: str = "velo 3", **changes: object) -> promotion.Candidate:
    """The market's probabilities as a champion's, null where a race is not kept."""
    return replace(
        world.market,
        name=name,
        predictions=world.market.predictions.with_columns(probability=pl.when(keep).then("probability")),
        **changes,  # type: ignore[arg-type]
    )


def test_other_prices_are_refused_and_a_way_out_is_named(world: World) -> None:
    decision = decide(world, world.truth, reference=world.candidate("velo 3", world.seen, price_kind="bsp"))
    assert "same races and prices" in failed(decision)
    assert "velo 3: bsp" in decision.summary
    assert "`velo retire`" in decision.summary


def test_other_code_is_named_and_no_reason_to_refuse(world: World) -> None:
    condition = ground(decide(world, world.truth, reference=world.candidate("velo 3", world.seen, code="old")))
    assert condition.passed
    assert "velo 3 was scored by code old, blend 2 by abc" in condition.reason


def test_a_few_unpaired_races_are_left_out_and_told(world: World) -> None:
    decision = decide(world, world.truth, reference=scored(world, pl.col("race_key") >= 16))
    assert ground(decision).passed
    assert ground(decision).reason == "16 of 1,600 races are scored by one of the two only"
    assert decision.races == 1584
    decision = decide(world, world.truth, reference=scored(world, pl.col("race_key") >= 17))
    assert not ground(decision).passed
    assert "17 of 1,600 races" in decision.summary
    market = decide(world, world.truth, reference=scored(world, pl.col("race_key") >= 17, name="market_beta"))
    assert "`velo run`" in market.summary


def test_races_that_were_corrected_since_are_left_out(world: World) -> None:
    """A champion's probabilities are stored, while a runner drops out of an old race and another gets a new key."""
    today = world.results.filter(pl.col("runner_key") != 8 * 3 + 1 + int(world.results["win_share"][8 * 3 + 1])).sort(
        "race_date", "race_key", "runner_key"
    )
    changed = pl.when(pl.col("runner_key") == 40).then(999_999).otherwise(pl.col("runner_key")).alias("runner_key")
    today = today.with_columns(changed)
    new = replace(
        world.truth,
        predictions=world.truth.predictions.with_columns(changed)
        .join(today.select("runner_key"), on="runner_key", how="semi")
        .with_columns(pl.col("probability") / pl.col("probability").sum().over("race_key")),
    )
    decision = decide(world, new, market=new, reference=replace(world.market, name="velo 3"), results=today)
    assert ground(decision).passed
    assert ground(decision).value == 2
    assert decision.races == 1598


def test_races_of_a_silent_time_count_for_no_one(world: World) -> None:
    end = world.results["race_date"][8 * 100]
    champion = scored(world, pl.col("race_key") >= 100, silent=((dt.date(2020, 1, 1), end),))
    decision = decide(world, world.truth, reference=champion)
    assert ground(decision).passed
    assert ground(decision).reason == "velo 3 can say nothing of 100 races"
    assert decision.races == 1500
    assert not ground(decide(world, world.truth, reference=replace(champion, silent=((end, None),)))).passed


def test_bad_input_is_named(world: World) -> None:
    broken = replace(world.truth, predictions=world.truth.predictions.with_columns(pl.col("probability") * 0.5))
    with pytest.raises(ValueError, match=r"sum to 0\.5"):
        decide(world, broken)
    with pytest.raises(ValueError, match="two predictions"):
        decide(world, replace(world.truth, predictions=pl.concat([world.truth.predictions] * 2)))
    with pytest.raises(MissingFeatureError, match="fold"):
        decide(world, replace(world.truth, predictions=world.truth.predictions.drop("fold")))
    with pytest.raises(TooFewRacesError, match="share no settled race"):
        decide(world, replace(world.truth, predictions=world.truth.predictions.clear()))


def tiny_races() -> Races:
    """Race 1: runners 0-2, 1 wins. Race 2: runners 3-5, 3 and 4 dead-heat."""
    frame = pl.DataFrame(
        {
            "race_date": [dt.date(2020, 1, 1)] * 6,
            "race_key": [1, 1, 1, 2, 2, 2],
            "win_share": [0.0, 1.0, 0.0, 0.5, 0.5, 0.0],
        }
    )
    return Races.from_frame(frame)


def test_pairs_by_hand() -> None:
    winners, losers = promotion.winner_loser_pairs(tiny_races())
    assert list(zip(winners.tolist(), losers.tolist(), strict=True)) == [(1, 0), (1, 2), (3, 5), (4, 5)]


def test_feature_concordance_by_hand() -> None:
    market = np.array([0.5, 0.3, 0.2, 0.4, 0.2, 0.4])
    matrix = np.array([[1, 1], [2, np.nan], [2, 1], [5, 1], [3, 1], [4, 9]], dtype=np.float32)
    table = promotion.feature_concordances(matrix, ["speed", "rank"], market, tiny_races())
    # Pairs: right, tie, right, wrong. Market: wrong, right, tie, wrong.
    assert table["speed"] == promotion.FeatureConcordance(2.5 / 4, 1.5 / 4, 4)
    # Only (3, 5) and (4, 5) are known, both reversed: a perfect order read backwards.
    assert table["rank"] == promotion.FeatureConcordance(1.0, 0.25, 2)


def test_auc_and_strike_rate_by_hand() -> None:
    # Two winners (scores 3, 1) against losers (2, 1): right, right, wrong, tie.
    assert promotion.pooled_auc(np.array([3.0, 1.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0])) == 2.5 / 4
    with pytest.raises(TooFewRacesError, match="AUC"):
        promotion.pooled_auc(np.array([1.0]), np.array([1.0]))
    # Race 1: top pick loses. Race 2: joint top picks, one of them a dead-heater with half a win.
    assert promotion.top_pick_strike_rate(np.array([0.5, 0.3, 0.2, 0.4, 0.2, 0.4]), tiny_races()) == 0.125


def test_acceptance_table_stands_beside_the_decision() -> None:
    readings = promotion.AcceptanceReadings(
        calibration_error=0.02,
        actual_over_expected_5_21=1.0,
        alpha=0.31,
        null_rate_by_family={"form": 0.01, "velocity": 0.04},
        training_rows=50_001,
    )
    table = {row["figure"]: row for row in promotion.acceptance_table(readings)}
    assert [row["met"] for row in table.values()] == [True, False, None, True, False, True]
    assert table["null rate per family (worst: velocity)"]["value"] == 0.04
    assert len(promotion.acceptance_table(promotion.AcceptanceReadings())) == 6
