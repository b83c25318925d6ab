from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from velo_assets.monitoring.module_weights import WEIGHT_SCHEMA, module_weights

RACES, RUNNERS = 700, 8


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Winners drawn from `p exp(0.6 tie)`: TIE is worth .6, the others nothing."""
    rng = np.random.default_rng(3)
    rows = []
    for race in range(RACES):
        market = rng.dirichlet(np.full(RUNNERS, 1.5)) * 0.98 + 0.02 / RUNNERS
        tie, nds = rng.normal(0, 0.8, RUNNERS), rng.normal(0, 0.5, RUNNERS)
        truth = market * np.exp(0.6 * tie)
        winner = rng.choice(RUNNERS, p=truth / truth.sum())
        fundamental = rng.dirichlet(np.full(RUNNERS, 3.0))
        rows += [
            {
                "race_date": date(2023, 1, 1) + timedelta(days=race // 4),
                "race_key": race,
                "runner_key": race * 10 + runner,
                "win_share": float(runner == winner),
                "market_probability": market[runner],
                "fundamental_probability": fundamental[runner],
                "tie_offset": tie[runner],
                "nds_offset": nds[runner],
            }
            for runner in range(RUNNERS)
        ]
    return pl.DataFrame(rows)


def test_weights_are_what_the_modules_are_worth(frame: pl.DataFrame) -> None:
    weights = module_weights(frame, races=RACES, step=1000)
    assert dict(weights.schema) == WEIGHT_SCHEMA
    by_module = {row["module"]: row for row in weights.to_dicts()}
    for module, truth in (("market", 1.0), ("sqpe", 0.0), ("tie", 0.6), ("nds", 0.0)):
        row = by_module[module]
        assert abs(row["weight"] - truth) < 3.5 * row["standard_error"], module
    assert by_module["tie"]["z"] > 4
    assert by_module["market"]["z"] == pytest.approx(
        (by_module["market"]["weight"] - 1) / by_module["market"]["standard_error"]
    )


def test_windows_roll_and_the_last_one_ends_with_the_last_race(frame: pl.DataFrame) -> None:
    weights = module_weights(frame, races=300, step=200)
    ends = weights["last_day"].unique().sort().to_list()
    assert ends[-1] == frame["race_date"].max()
    assert len(ends) == 3
    assert weights["races"].max() == 300


def test_a_silent_module_is_left_out(frame: pl.DataFrame) -> None:
    silent = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("nds_offset")).drop("fundamental_probability")
    weights = module_weights(silent, races=RACES, step=1000)
    assert weights["module"].to_list() == ["market", "tie"]


def test_too_few_races_give_no_weight(frame: pl.DataFrame) -> None:
    assert module_weights(frame.head(RUNNERS * 50)).is_empty()
    assert module_weights(frame.clear()).is_empty()
