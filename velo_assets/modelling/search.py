"""Search of the trees' settings, inside the training years only, and which settings hold for a year.

Belongs here: a small Optuna study on the inner split of one fold's training races, and the rule by which folds and
serving take what it found. Not here: the fit that uses it, where it is kept (warehouse.builds). The defaults are good
without a search; it is worth its time when the data are new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from velo_assets.modelling.conditional_logit import choice_stages
from velo_assets.modelling.fundamental import FundamentalSettings, finishing_positions, inner_later, settings_for
from velo_assets.modelling.guards import require_columns, require_earlier, require_races
from velo_assets.modelling.races import KEYS, FloatArray, Races, feature_matrix, latest_races, settled_frame
from velo_assets.modelling.softmax import BoosterSettings, boost_until

RANGES = {
    "num_leaves": (4, 32),
    "learning_rate": (0.03, 0.4),
    "min_data_in_leaf": (50, 1000),
    "lambda_l2": (1.0, 100.0),
    "feature_fraction": (0.15, 0.6),
}
"""What is searched; the settings that a search starts from lie within, for small histories and for large ones."""

Found = Mapping[str, Any]
"""What a search found: `base`, the trees' settings it started from, and `booster`, those of `RANGES` in their place."""


def settings_in_use(found: Mapping[int, Found], year: int, usual: FundamentalSettings) -> FundamentalSettings:
    """Settings of the fold of a year, and of what is trained to serve in it: those of the latest search up to it.

    A search of a year reads races before it alone, so no fold takes what was found on its own races or later ones.

    Args:
        found: by the year of the fold that was searched.
        year: of the fold.
        usual: the defaults for a history of this size; they hold where nothing was found, or from another start.
    """
    latest = max((each for each in found if each <= year), default=None)
    if latest is None or found[latest]["base"] != asdict(usual.booster):
        return usual
    return replace(usual, booster=replace(usual.booster, **found[latest]["booster"]))


def search_settings(
    train: pl.DataFrame,
    features: Sequence[str],
    cutoff: date,
    *,
    trials: int,
    base: FundamentalSettings | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Settings with the best R2 on the later inner races of the training years, which are those that the fit stops on.

    Args:
        train: runners before the cutoff with `KEYS`, `win_share` and the features.
        features: price-free columns known before the off.
        cutoff: first day of the scored fold.
        trials: size of the study; the first trial is the base itself.
        base: settings to start from; `settings_for` the number of races when None.
        seed: of the sampler.

    Returns:
        What was found, JSON-ready: see `Found`; besides `r2` and `r2_of_base` on the inner races, `trials`.

    Raises:
        LookAheadError: training rows reach into the embargo or the fold.
        MissingFeatureError: a feature is missing.
        TooFewRacesError: fewer than the base's `min_races` settled races.
    """
    require_columns(train, (*KEYS, "win_share", *features), "search")
    frame = settled_frame(train)
    settled = len(Races.from_frame(frame))
    base = base or settings_for(settled)
    require_earlier(train, cutoff, base.embargo_days, "search")
    require_races(settled, base.min_races, f"search, cutoff {cutoff}")
    frame = latest_races(frame, min(base.inner_races, base.latest_races or settled))
    races = Races.from_frame(frame)
    return _study(feature_matrix(frame, features), races, finishing_positions(frame), base, trials, seed)


def _study(
    matrix: np.ndarray[Any, np.dtype[np.float32]],
    races: Races,
    positions: FloatArray | None,
    base: FundamentalSettings,
    trials: int,
    seed: int,
) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    stages = choice_stages(races, positions, base.place_weights)
    later = inner_later(races, base.inner_share)
    late = races.subset(later)

    def booster(parameters: dict[str, Any]) -> BoosterSettings:
        return replace(base.booster, **parameters)

    def r2(trial: Any) -> float:
        parameters = {
            name: trial.suggest_int(name, low, high, log=True)
            if isinstance(low, int)
            else trial.suggest_float(name, low, high, log=name != "feature_fraction")
            for name, (low, high) in RANGES.items()
        }
        _, score = boost_until(matrix, races, stages, later, booster(parameters), base.seeds[:1])
        return late.r2(late.softmax(score))

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({name: getattr(base.booster, name) for name in RANGES})
    study.optimize(r2, n_trials=trials)
    return {
        "base": asdict(base.booster),
        "booster": dict(study.best_params),
        "r2": study.best_value,
        "r2_of_base": study.trials[0].value,
        "trials": trials,
    }
