"""Declarations and selection; no threshold looks ahead."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from velo_assets.betting.staking import PRESETS
from velo_assets.betting.strategies import (
    Selection,
    Strategy,
    UnknownStrategyError,
    load_strategies,
    runnable,
)
from velo_assets_tests.betting.frames import random_world, wide


def test_the_shipped_file_declares_each_id_once_with_a_definition_of_its_own() -> None:
    strategies = load_strategies()
    assert len({strategy.id for strategy in strategies}) == len(strategies) >= 20
    assert len({strategy.definition_hash for strategy in strategies}) == len(strategies)


def test_strategies_come_in_the_order_asked_for() -> None:
    assert [s.id for s in load_strategies(["blend_top20", "market_all"])] == ["blend_top20", "market_all"]


def test_an_unknown_id_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownStrategyError, match=r"unknown strategy id 'nope'.*market_all"):
        load_strategies(["nope"])


def test_the_paper_trading_preset_is_declared() -> None:
    (paper,) = load_strategies(["paper_trading"])
    assert (paper.convergence, paper.staking) == (3, PRESETS["paper_trading"])
    assert (paper.staking.fraction, paper.staking.bankroll) == (0.1, 1000.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[strategy]]\nid="a"\nrecipe="blend"\n[[strategy]]\nid="a"\nrecipe="blend"', "declared twice"),
        ('[[strategy]]\nrecipe="blend"', "without an id"),
        ('[[strategy]]\nid="a"\nrecipe="blend"\ntop=0.2', "unknown field 'top'"),
        ('[[strategy]]\nid="a"\nrecipe="blend"\nregime="moon"', "unknown price regime 'moon'"),
        ('[[strategy]]\nid="a"\nrecipe="blend"\ntop_share=2.0', "top_share"),
        ('[[strategy]]\nid="a"\nrecipe="blend"\nlow_odds=8.0\nhigh_odds=5.0', "low_odds"),
        ('[[strategy]]\nid="a"\nrecipe="blend"\nside="lay"\nstaking={method="kelly"}', "kelly"),
        ('[[strategy]]\nid="a"\nrecipe="blend"\nstaking={preset="martingale"}', "unknown staking preset 'martingale'"),
        ('[[strategy]]\nid="a"', "recipe"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "strategies.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        load_strategies(path=path)


def test_a_new_threshold_is_a_new_definition_but_a_new_name_is_not() -> None:
    one = Strategy("a", "A", "blend", top_share=0.2)
    assert one.definition_hash == Strategy("b", "B", "blend", top_share=0.2).definition_hash
    assert one.definition_hash != Strategy("a", "A", "blend", top_share=0.1).definition_hash


def test_runners_are_chosen_by_price_edge_and_race() -> None:
    frame = wide([[2.0, 4.0, 8.0]], [0], [[0.4, 0.35, 0.25]])  # edges -.2, .4, 1.0
    chosen = Selection(frame).chosen(Strategy("a", "A", "blend", min_edge=0.0, high_odds=5.0))
    assert chosen.tolist() == [False, True, False]
    assert not Selection(frame).chosen(Strategy("a", "A", "blend", min_field=4)).any()
    assert not Selection(frame).chosen(Strategy("a", "A", "blend", codes=("chase",))).any()
    assert Selection(frame).chosen(Strategy("a", "A", "blend", side="lay", min_edge=0.0)).tolist() == [
        True,
        False,
        False,
    ]


def test_agreement_counts_modules_above_the_market_and_null_is_no_vote() -> None:
    frame = wide([[2.0, 4.0, 8.0]], [0]).with_columns(
        module_sqpe=pl.Series([0.1, 0.2, 0.1]),
        module_tie=pl.Series([0.1, -0.2, None]),
        module_nds=pl.Series([0.1, 0.2, -0.1]),
    )
    assert Selection(frame).chosen(Strategy("a", "A", "market", convergence=2)).tolist() == [True, True, False]
    assert Selection(frame).chosen(Strategy("a", "A", "market", convergence=3)).tolist() == [True, False, False]


def test_the_cut_comes_from_earlier_folds() -> None:
    frame = random_world(600, seed=1).with_columns(fold=(2020 + pl.int_range(pl.len()) // 1600).cast(pl.Int32))
    strategy = Strategy("a", "A", "blend", top_share=0.2)
    selection = Selection(frame)
    edge = selection.edge(strategy)
    folds = frame.get_column("fold").to_numpy()
    cut = selection.cut(strategy, selection.eligible(strategy))
    assert cut[folds == 2022].max() == pytest.approx(np.quantile(edge[folds < 2022], 0.8))


def test_later_predictions_change_no_earlier_choice() -> None:
    frame = random_world(600, seed=2).with_columns(fold=(2020 + pl.int_range(pl.len()) // 1600).cast(pl.Int32))
    strategy = Strategy("a", "A", "blend", top_share=0.2)
    scrambled = frame.with_columns(
        probability_blend=pl.when(pl.col("fold") >= 2022)
        .then(pl.col("probability_blend") * 3)
        .otherwise("probability_blend")
    )
    early = (frame.get_column("fold") < 2022).to_numpy()
    assert np.array_equal(Selection(frame).chosen(strategy)[early], Selection(scrambled).chosen(strategy)[early])


def test_results_change_no_choice() -> None:
    frame = random_world(200, seed=3)
    shuffled = frame.with_columns(pl.col("win_share").reverse(), pl.col("weighed_in_position").reverse())
    strategy = Strategy("a", "A", "blend", top_share=0.3)
    assert np.array_equal(Selection(frame).chosen(strategy), Selection(shuffled).chosen(strategy))


def test_the_first_fold_cuts_within_the_day() -> None:
    frame = wide([[2.0, 4.0], [2.0, 10.0]], [0, 0], [[0.6, 0.4], [0.9, 0.1]], [date(2024, 1, 1), date(2024, 1, 2)])
    # Edges .2 and .6 on the first day, .8 and 0 on the second: the best half of each day.
    assert Selection(frame).chosen(Strategy("a", "A", "blend", top_share=0.5)).tolist() == [False, True, True, False]


def test_strategies_without_their_inputs_are_set_aside_with_the_reason() -> None:
    able, why = runnable(load_strategies(["blend_top20", "convergence_2of3"]), wide([[2.0, 4.0]], [0]))
    assert [strategy.id for strategy in able] == ["blend_top20"]
    assert "module_tie" in why["convergence_2of3"]
