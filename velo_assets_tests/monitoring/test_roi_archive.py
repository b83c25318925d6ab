from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from velo_assets.betting.error_map import Tag
from velo_assets.betting.ledger import LEDGER
from velo_assets.monitoring.roi_archive import ARCHIVE_SCHEMA, roi_archive

TAGS = (Tag("class riser", ("class_drop",), pl.col("class_drop") < 0, "goes up in class"),)


def ledger(count: int) -> pl.DataFrame:
    """Bets of one unit at 6.0, every fifth a winner: +20% on the turnover; one more order never matched."""
    rows = []
    for bet in range(count + 1):
        won = bet % 5 == 0
        rows.append(
            {
                "strategy_id": "blend_all",
                "race_date": date(2023, 1, 1) + timedelta(days=bet // 2),
                "race_key": bet,
                "runner_key": bet,
                "fold": 2023,
                "recipe": "blend",
                "decision_price": 6.0 if bet % 2 else 10.0,
                "matched_price": 6.0 if bet % 2 else 10.0,
                "market_probability": 0.15,
                "side": "back",
                "bet_type": "win",
                "requested_stake": 1.0,
                "stake": 1.0 if bet < count else 0.0,
                "status": ("won" if won else "lost") if bet < count else "unmatched",
                "win_share": float(won),
                "profit": (5.0 if won else -1.0) if bet < count else 0.0,
                "return": (6.0 if won else 0.0) if bet < count else 0.0,
                "course": "Ascot" if bet % 3 else None,
            }
        )
    return pl.DataFrame(rows, schema_overrides=LEDGER)


RUNNERS = pl.DataFrame(
    {"runner_key": list(range(101)), "trainer": ["A Stable"] * 50 + [None] * 51, "class_drop": [-1.0, 1.0] * 50 + [0.0]}
)


def test_every_pattern_sums_to_the_strategy() -> None:
    archive = roi_archive(ledger(100), RUNNERS, tags=TAGS)
    assert dict(archive.schema) == ARCHIVE_SCHEMA
    whole = archive.filter(pattern="strategy").to_dicts()[0]
    assert (whole["bets"], whole["profit"], whole["roi"]) == (100, 20.0, pytest.approx(0.2))
    assert whole["roi_low"] < 0.2 < whole["roi_high"]
    assert whole["a_over_e"] == pytest.approx(20 / 15)
    for pattern in ("regime", "course", "trainer"):
        assert archive.filter(pattern=pattern)["profit"].sum() == pytest.approx(20.0), pattern
    assert archive.filter(pattern="regime")["value"].to_list() == ["mid_price", "value_zone"]
    assert archive.filter(pattern="trainer")["value"].to_list() == ["A Stable", "unknown"]
    assert archive.filter(pattern="tag").select("value", "bets").rows() == [("class riser", 50)]


def test_small_groups_and_missing_tag_columns_are_left_out() -> None:
    archive = roi_archive(ledger(40), RUNNERS.drop("class_drop"), tags=TAGS)
    assert archive.filter(pattern="tag").is_empty()
    assert archive.filter(pattern="course")["value"].to_list() == []
    assert archive.filter(pattern="trainer")["bets"].to_list() == [40]


def test_no_bets_no_archive() -> None:
    assert roi_archive(ledger(0), RUNNERS, tags=TAGS).is_empty()


def test_ledgers_one_by_one_give_what_they_give_together() -> None:
    other = ledger(80).with_columns(pl.lit("blend_top20").alias("strategy_id"))
    together = roi_archive(pl.concat([ledger(100), other]), RUNNERS, trials=5, tags=TAGS)
    assert_frame_equal(roi_archive(iter([ledger(100), other]), RUNNERS, trials=5, tags=TAGS), together)
    assert together["strategy_id"].n_unique() == 2
