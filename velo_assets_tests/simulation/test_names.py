"""Names do not collide where they must not."""

from __future__ import annotations

import numpy as np

from velo_assets.simulation.names import owners, people, two_word_names


def test_horse_names_are_distinct_over_ten_large_seasons() -> None:
    assert len(set(two_word_names(np.arange(250_000)).tolist())) == 250_000


def test_people_are_distinct() -> None:
    assert len(set(people(5000, offset=11, stride=4057).tolist())) == 5000


def test_owners_are_named() -> None:
    named = owners(500).tolist()
    assert all(named)
    assert len(set(named)) > 450
