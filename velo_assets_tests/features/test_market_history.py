from __future__ import annotations

from datetime import date, timedelta
from math import exp, log

import pytest

from velo_assets_tests.features.stables import Stables, known

DAY = date(2020, 6, 20)


def test_past_prices_against_an_even_field(stables: Stables) -> None:
    # Odds 1.6 and 1.6: probabilities of a half each, the log against an even field is 0. Odds 5 and 1.25: 0.2 and 0.8.
    first = {"horse_key": 1, "position": 2, "sp": 1.6, "opening_show": 3.2}
    stables.race(DAY - timedelta(days=55), [first, {"position": 1, "sp": 1.6, "opening_show": 2.0}])
    stables.race(DAY - timedelta(days=10), [{"horse_key": 1, "position": 1, "sp": 5.0}, {"position": 2, "sp": 1.25}])
    today = stables.race(DAY, [{"horse_key": 1, "sp": 1.01}, {"sp": 50.0}])[0]
    row = stables.build("market_history", DAY, DAY)[today]
    near, far = 2 ** (-10 / 45), 2 ** (-55 / 45)
    assert row["market_strength_ewma"] == pytest.approx(log(0.4) * near / (near + far))
    assert row["market_strength_last"] == pytest.approx(log(0.4))
    assert row["market_strength_best"] == pytest.approx(0)
    near, far = 2 ** (-10 / 240), 2 ** (-55 / 240)
    surprise = 1 - 1 / (1 + exp(-log(0.4)))
    assert row["market_beaten_ewma"] == pytest.approx((surprise * near - 0.5 * far) / (near + far))
    assert row["horse_ae"] == pytest.approx((1 + 3) / (0.7 + 3))
    assert row["steam_last"] == pytest.approx(log(2))


def test_partial_books_and_debuts_are_null(stables: Stables) -> None:
    stables.race(DAY - timedelta(days=10), [{"horse_key": 1, "position": 1, "sp": 5.0}, {"position": 2}])
    today, debut = stables.race(DAY, [{"horse_key": 1, "sp": 2.0}, {"horse_key": 2, "sp": 2.0}])
    rows = stables.build("market_history", DAY, DAY)
    for key in (today, debut):
        assert known(rows[key]) == {}


def test_prices_of_the_same_day_do_not_count(stables: Stables) -> None:
    runners = [{"horse_key": 1, "position": 1, "sp": 5.0}, {"position": 2, "sp": 1.25}]
    early = stables.race(DAY, runners)[0]
    assert stables.build("market_history", DAY, DAY)[early]["market_strength_last"] is None
