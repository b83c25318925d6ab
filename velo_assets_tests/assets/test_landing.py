"""The landing asset: what it tells of the years whose content changed."""

from pathlib import Path

import dagster as dg
import pytest

from velo_assets.assets.landing import landing
from velo_assets.ingestion import quality
from velo_assets.resources.data import DataRootResource, WarehouseResource
from velo_assets.settings import DataRoot
from velo_assets_tests.conftest import silent_instance
from velo_assets_tests.ingestion.raceform_rows import csv_text, row

RACEFORM = dg.AssetKey(["landing", "raceform"])


def years_told() -> list[int] | None:
    """Land, and give the years that the materialization names; None when the run fails."""
    resources = {"data_root": DataRootResource(), "warehouse": WarehouseResource()}
    with silent_instance() as instance:
        result = dg.materialize([landing], resources=resources, instance=instance, raise_on_error=False)
    if not result.success:
        return None
    (event,) = (event for event in result.get_asset_materialization_events() if event.asset_key == RACEFORM)
    years: list[int] = event.step_materialization_data.materialization.metadata["years_touched"].value  # type: ignore[assignment]
    return years


def test_years_of_a_landing_that_died_before_its_word_are_told_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELO_DATA", str(tmp_path))
    root = DataRoot(tmp_path)
    root.raceform.mkdir()
    (root.raceform / "a.csv").write_text(csv_text([row(), row(date="2019-04-26")]))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as dying:
        dying.setattr(quality, "write_landing_page", full_disk)
        assert years_told() is None
    assert years_told() == [2015, 2019]
    assert years_told() == []
    (root.raceform / "a.csv").write_text(csv_text([row(), row(date="2019-04-26", sp="9/1")]))
    assert years_told() == [2019]
