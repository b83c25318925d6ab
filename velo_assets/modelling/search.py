"""Optional search of the trees' settings, inside the training years only.

Belongs here: a small Optuna study on the inner split of one fold's training races, and its cache. Not here: the fit
that uses what was found. The defaults are good without it; a search is worth its time when the data are new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from velo_assets.modelling.conditional_logit import choice_stages
from velo_assets.modelling.fundamental import FundamentalSettings, finishing_positions, inner_later, settings_for
from velo_assets.modelling.guards import require_columns, require_earlier, require_races
from velo_assets.modelling.races import KEYS, Races, feature_matrix, settled_frame
from velo_assets.modelling.softmax import BoosterSettings, boost_until

DEFAULT_TRIALS = 12
"""Enough to tell shallow from deep and fast from slow; more would tune to the noise of the inner races."""


def search_settings(
    train: pl.DataFrame,
    features: Sequence[str],
    cutoff: date,
    cache: Path,
    *,
    base: FundamentalSettings | None = None,
    trials: int = DEFAULT_TRIALS,
    seed: int = 0,
) -> FundamentalSettings:
    """Settings with the best R2 on the later inner races of the training years.

    Args:
        train: runners before the cutoff with `KEYS`, `win_share` and the features.
        features: price-free columns known before the off.
        cutoff: first day of the scored fold.
        cache: JSON file of earlier results; made when missing. The key is a hash of data, features, base and trials.
        base: settings to start from; `settings_for` the number of races when None.
        trials: size of the study; the first trial is the base itself.
        seed: of the sampler.

    Returns:
        The base with the best booster found.

    Raises:
        LookAheadError: training rows reach into the embargo or the fold.
        MissingFeatureError: a feature is missing.
        TooFewRacesError: fewer than the base's `min_races` settled races.
    """
    require_columns(train, (*KEYS, "win_share", *features), "search")
    frame = settled_frame(train)
    races = Races.from_frame(frame)
    base = base or settings_for(len(races))
    require_earlier(train, cutoff, base.embargo_days, "search")
    require_races(len(races), base.min_races, f"search, cutoff {cutoff}")
    matrix = feature_matrix(frame, features)
    digest = hashlib.sha256(np.ascontiguousarray(matrix).tobytes())
    for part in (races.win_share, races.race_key, races.race_date.astype(np.int64)):
        digest.update(part.tobytes())
    digest.update(json.dumps([list(features), asdict(base), trials, seed], sort_keys=True).encode())
    key = digest.hexdigest()
    known: dict[str, dict[str, Any]] = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    if key not in known:
        known[key] = _study(matrix, races, frame, features, base, trials, seed)
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
    return replace(base, booster=BoosterSettings(**known[key]["booster"]))


def _study(
    matrix: np.ndarray[Any, np.dtype[np.float32]],
    races: Races,
    frame: pl.DataFrame,
    features: Sequence[str],
    base: FundamentalSettings,
    trials: int,
    seed: int,
) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    stages = choice_stages(races, finishing_positions(frame), base.place_weights)
    later = inner_later(races, base.inner_share)
    late = races.subset(later)

    def booster(parameters: dict[str, Any]) -> BoosterSettings:
        return replace(base.booster, **parameters)

    def r2(trial: Any) -> float:
        parameters = {
            "num_leaves": trial.suggest_int("num_leaves", 4, 32, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.25, log=True),
            "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 50, 1000, log=True),
            "lambda_l2": trial.suggest_float("lambda_l2", 1.0, 100.0, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.15, 0.6),
        }
        _, score = boost_until(matrix, races, stages, later, features, booster(parameters), base.seeds[:1])
        return late.r2(late.softmax(score))

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    names = ("num_leaves", "learning_rate", "min_data_in_leaf", "lambda_l2", "feature_fraction")
    study.enqueue_trial({name: getattr(base.booster, name) for name in names})
    study.optimize(r2, n_trials=trials)
    return {"booster": asdict(booster(study.best_params)), "r2": study.best_value, "trials": trials}
