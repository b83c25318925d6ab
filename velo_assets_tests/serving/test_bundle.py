import json
import re
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling import experts, fundamental
from velo_assets.modelling.guards import LookAheadError, MissingFeatureError
from velo_assets.modelling.races import between
from velo_assets.serving.bundle import Bundle, build_bundle, load_bundle, race_gaps, register_bundle


def scored(training: pl.DataFrame, bundle: Bundle) -> pl.DataFrame:
    return between(training, bundle.cutoff, None)


def sums_to_one(frame: pl.DataFrame, column: str) -> bool:
    totals = frame.group_by("race_key").agg(pl.col(column).sum())[column].to_numpy()
    return bool(np.allclose(totals, 1.0))


def test_every_probability_sums_to_one_in_each_race(training: pl.DataFrame, bundle: Bundle) -> None:
    predicted = bundle.predict(scored(training, bundle))
    for column in ("fundamental_probability", "expert_probability", "blend_probability", "fair_probability"):
        assert sums_to_one(predicted, column), column
    assert predicted["basis"].unique().to_list() == ["blend"]
    assert predicted["fair_probability"].equals(predicted["blend_probability"].rename("fair_probability"))
    assert predicted["modules_above"].is_between(0, 3).all()


def leaves(bundle: Bundle) -> list[str]:
    """Leaves of each tree of the fundamental model."""
    return [number for text in bundle.fundamental.trees_.texts_ for number in re.findall(r"num_leaves=(\d+)", text)]


def test_what_serves_is_trained_as_the_folds_of_a_history_of_this_size_are(
    training: pl.DataFrame, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    booster = replace(fundamental.LARGE.booster, rounds=3, min_data_in_leaf=50)
    for module in (fundamental, experts):
        monkeypatch.setattr(module, "MANY_RACES", 100)
        large = replace(module.LARGE, booster=booster, min_races=100, inner_share=0.4)
        monkeypatch.setattr(module, "LARGE", large)
    trained = build_bundle(
        training, bundle.fundamental.features, bundle.cutoff, families=bundle.families, price_kind="sp"
    )
    assert len(trained.fundamental.trees_.texts_) == len(fundamental.LARGE.seeds)
    assert 1 <= trained.fundamental.trees_.rounds_ <= 3
    assert all(expert.trees_.rounds_ <= 3 for expert in trained.experts)
    found = {bundle.cutoff.year: {"base": asdict(booster), "booster": {"num_leaves": 2}}}
    searched = build_bundle(
        training, bundle.fundamental.features, bundle.cutoff, families=bundle.families, price_kind="sp", found=found
    )
    assert set(leaves(searched)) == {"2"}
    assert set(leaves(trained)) == {str(booster.num_leaves)}


def test_without_a_full_book_the_fundamental_model_stands_alone(training: pl.DataFrame, bundle: Bundle) -> None:
    rows = scored(training, bundle)
    first = rows["race_key"][0]
    one = pl.col("runner_key") == rows["runner_key"][0]
    partial = rows.with_columns(
        pl.when(one).then(None).otherwise(pl.col(name)).alias(name) for name in ("decimal_odds", "market_probability")
    )
    predicted = bundle.predict(partial)
    alone, others = predicted.filter(race_key=first), predicted.filter(pl.col("race_key") != first)
    assert alone["basis"].unique().to_list() == ["fundamental"]
    assert alone["blend_probability"].null_count() == alone.height
    assert sums_to_one(alone, "fair_probability")
    assert alone["modules_above"].null_count() >= 1
    assert others["basis"].unique().to_list() == ["blend"]


def test_no_price_at_all_still_gives_fair_odds(training: pl.DataFrame, bundle: Bundle) -> None:
    bare = scored(training, bundle).with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in ("decimal_odds", "market_probability")
    )
    predicted = bundle.predict(bare)
    assert sums_to_one(predicted, "fair_probability")
    assert predicted["regime"].null_count() == predicted.height
    assert predicted["sqpe_above"].null_count() == predicted.height
    assert predicted["tie_offset"].null_count() == 0
    assert bundle.calibration is not None


def test_blend_and_experts_are_those_of_their_models(training: pl.DataFrame, bundle: Bundle) -> None:
    rows = scored(training, bundle)
    predicted = bundle.predict(rows)
    by_model = bundle.fundamental.predict(rows, 0)
    assert predicted["fundamental_probability"].to_numpy() == pytest.approx(
        by_model["fundamental_probability"].to_numpy()
    )
    assert bundle.blend is not None
    assert bundle.gate is not None
    assert bundle.intent is not None
    offsets = bundle.intent.predict(rows, 0)["offset"]
    assert predicted["tie_offset"].to_numpy() == pytest.approx(offsets.to_numpy())
    rows = rows.with_columns(by_model["score"])
    blended = bundle.blend.predict(rows, 0)["blend_probability"]
    assert predicted["blend_probability"].to_numpy() == pytest.approx(blended.to_numpy())
    for expert in bundle.experts:
        correction = expert.predict(rows, 0)["correction"].alias(f"correction_{expert.regime.name}")
        rows = rows.with_columns(correction)
    gated = bundle.gate.predict(rows, 0)
    for column in ("expert_probability", "reliability"):
        assert predicted[column].to_numpy() == pytest.approx(gated[column].to_numpy())


def test_files_are_text_and_come_back_as_the_same_model(training: pl.DataFrame, bundle: Bundle) -> None:
    files = bundle.files()
    assert {Path(name).suffix for name in files} == {".json", ".txt"}
    rows = scored(training, bundle)
    assert load_bundle(files).predict(rows).equals(bundle.predict(rows))
    assert json.loads(files["recipe.json"])["shipped"] == "blend"


def test_a_version_that_is_no_bundle_is_named() -> None:
    with pytest.raises(ValueError, match=r"no bundle.*blend\.json"):
        load_bundle({"blend.json": "{}"})


def test_rows_before_the_cutoff_and_missing_features_are_refused(training: pl.DataFrame, bundle: Bundle) -> None:
    with pytest.raises(LookAheadError):
        bundle.predict(training)
    with pytest.raises(MissingFeatureError, match=bundle.features[0]):
        bundle.predict(scored(training, bundle).drop(bundle.features[0]))


def test_nobody_races(training: pl.DataFrame, bundle: Bundle) -> None:
    assert bundle.predict(training.clear()).is_empty()


def test_training_used_nothing_from_the_cutoff_on(training: pl.DataFrame, bundle: Bundle) -> None:
    assert bundle.data_end < bundle.cutoff - timedelta(days=1)
    assert bundle.reference["recipe"].race_date.max() < np.datetime64(bundle.cutoff)


def test_gaps_are_measured_from_the_cutoff_on(training: pl.DataFrame, bundle: Bundle) -> None:
    gaps = race_gaps(bundle, training)
    rows = scored(training, bundle)
    assert gaps["recipe"].total_races == rows["race_key"].n_unique()
    first_day = rows.filter(race_date=rows["race_date"].min())
    predicted = bundle.predict(first_day).join(
        first_day.select("runner_key", "win_share", "market_probability"), on="runner_key"
    )
    winners = predicted.filter(pl.col("win_share") > 0)
    by_hand = (winners["market_probability"].log() - winners["fundamental_probability"].log()).sum()
    assert gaps["fundamental"].gap[0] == pytest.approx(by_hand)
    assert race_gaps(bundle, training.clear())["recipe"].total_races == 0


def test_a_bundle_is_one_registered_version(tmp_path: Path, bundle: Bundle, training: pl.DataFrame) -> None:
    from velo_assets.modelling.registry import ModelRegistry
    from velo_assets.serving.predict import serving_models

    registry = ModelRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")
    version = register_bundle(registry, "velo", bundle, git_commit="abc", feature_catalogue_sha256="def")
    (model,) = serving_models(registry, "velo")
    assert (model.version, model.is_champion) == (version, False)
    rows = scored(training, bundle)
    assert model.bundle.predict(rows).equals(bundle.predict(rows))
    stored = registry.challenger("velo")
    assert stored is not None
    assert stored.metadata["data_end"] == bundle.data_end.isoformat()
