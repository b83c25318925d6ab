"""Pictures: both formats, odd input, no global state."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

from velo_assets.betting.ledger import place_bets
from velo_assets.betting.metrics import breakdown, equity, null_band
from velo_assets.betting.strategies import Strategy
from velo_assets.modelling.blend import ProfileLikelihood
from velo_assets.modelling.calibration import reliability_table, split_by_market
from velo_assets.reports import plots
from velo_assets_tests.betting.frames import random_world, wide

FOLDS = [
    {"year": year, "r2_market": 0.17, "r2_blend": 0.171, "r2_fundamental": None, "delta_r2": 0.001, "delta_r2_ci": ci}
    | {"alpha": 0.1, "alpha_se": None, "beta": 1.0, "beta_se": 0.1}
    for year, ci in ((2020, [-0.001, 0.002]), (2021, None))
]


@pytest.fixture(scope="module")
def bets() -> pl.DataFrame:
    return place_bets(random_world(240, seed=1), [Strategy("all", "All", "market")])


def test_svg_is_inline_scalable_and_labelled(bets: pl.DataFrame) -> None:
    svg = plots.to_svg(plots.equity_curve(equity(bets, draws=20), null_band(bets, 5), 5), 'profit "so far" & band')
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>")
    assert 'aria-label="profit &quot;so far&quot; &amp; band"' in svg
    opening = svg.split(">", 1)[0]
    assert "viewBox" in opening
    assert not re.search(r"\s(width|height)=", opening)
    assert "best of 5 without skill" in svg


def test_the_same_numbers_give_the_same_picture(bets: pl.DataFrame) -> None:
    one, two = (plots.to_svg(plots.roi_by_group(breakdown(bets, "price_band")), "x") for _ in range(2))
    assert one == two


def test_missing_values_and_a_single_day_are_drawn() -> None:
    frame = wide([[2.0, 4.0]], [0])
    single = place_bets(frame, [Strategy("all", "All", "market")])
    for figure in (
        plots.equity_curve(equity(single, draws=5), null_band(single.head(0), 2), 2, plots.TALL),
        plots.roi_by_group(breakdown(single, "price_band")),
        plots.r2_per_fold(FOLDS),
        plots.alpha_beta_per_fold(FOLDS),
        plots.monthly_heat_map(breakdown(single, "year_month")),
    ):
        assert plots.to_png(figure, dpi=40).startswith(b"\x89PNG")


def test_calibration_pictures() -> None:
    frame = random_world(200, seed=2, edge=0.2)
    model, market, won = (frame[name].to_numpy() for name in ("probability_blend", "market_probability", "win_share"))
    diagram = plots.reliability_diagram([("blend", plots.GREEN, reliability_table(model, won))])
    split = plots.split_calibration(split_by_market(model, market, won))
    assert "predicted chance" in plots.to_svg(diagram, "x")
    assert "model above market" in plots.to_svg(split, "x")


def test_a_profile_is_drawn_at_the_sides_of_its_rings() -> None:
    grid = np.linspace(-1.0, 1.0, 9)
    surface = -8.0 * (grid[None, :] ** 2 + grid[:, None] ** 2)
    figure = plots.profile_picture(ProfileLikelihood(grid, 1 + grid, -8 * grid**2, -8 * grid**2, surface))
    top, corner, rings, side = figure.axes
    assert top.lines[0].get_ydata().max() == side.lines[0].get_xdata().max() == 0.0
    assert rings.lines[0].get_xdata().tolist() == [0.0]
    assert not corner.axison
    assert plots.to_png(figure).startswith(b"\x89PNG")


def test_long_records_are_thinned() -> None:
    table = pl.DataFrame({"value": range(5000)})
    thin = plots._thinned(table)
    assert thin.height <= plots.MAX_POINTS
    assert (thin["value"][0], thin["value"][-1]) == (0, 4999)


def test_pyplot_is_not_loaded_and_settings_are_put_back(bets: pl.DataFrame) -> None:
    import matplotlib as mpl

    before = mpl.rcParams["font.size"]
    plots.to_svg(plots.roi_by_group(breakdown(bets, "code")), "x")
    assert mpl.rcParams["font.size"] == before
