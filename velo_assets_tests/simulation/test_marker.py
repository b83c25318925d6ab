"""Simulated and real results are told apart, never mixed, and only simulated ones are removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from velo_assets.ingestion.inputs import MARKER_NAME
from velo_assets.simulation.marker import (
    Marker,
    MixedDataError,
    data_kind,
    read_marker,
    remove_simulated,
    sha256,
    write_marker,
)


def simulated_root(root: Path) -> Path:
    folder = root / "raceform"
    folder.mkdir(parents=True)
    (folder / "simulated_2016.csv").write_text("date\n2016-01-01\n", encoding="utf-8")
    write_marker(folder, Marker(seed=7, edge=0.5, files={"simulated_2016.csv": sha256(folder / "simulated_2016.csv")}))
    (root / "truth").mkdir()
    (root / "truth" / "truth_2016.parquet").write_bytes(b"truth")
    return folder


def test_empty_simulated_and_real(tmp_path: Path) -> None:
    assert data_kind(tmp_path / "nowhere") == "empty"
    folder = tmp_path / "plain"
    folder.mkdir()
    for name in (".gitkeep", "README.md", "where from.md", ".hidden.csv"):
        (folder / name).write_text("", encoding="utf-8")
    assert data_kind(folder) == "empty"
    (folder / "raceform.csv.gz").write_bytes(b"")
    assert data_kind(folder) == "real"
    simulated = simulated_root(tmp_path / "sim")
    (simulated / "notes.md").write_text("mine", encoding="utf-8")
    assert data_kind(simulated) == "simulated"
    (simulated / "half.csv.part").write_bytes(b"")
    with pytest.raises(MixedDataError, match=r"half\.csv\.part"):
        data_kind(simulated)


def test_marker_round_trip(tmp_path: Path) -> None:
    folder = simulated_root(tmp_path)
    marker = read_marker(folder)
    assert marker is not None
    assert (marker.seed, marker.edge, list(marker.files)) == (7, 0.5, ["simulated_2016.csv"])
    assert sorted(path.name for path in folder.iterdir()) == [MARKER_NAME, "simulated_2016.csv"]


def test_both_kinds_are_refused_by_name(tmp_path: Path) -> None:
    folder = simulated_root(tmp_path)
    (folder / "real.csv").write_text("date\n", encoding="utf-8")
    with pytest.raises(MixedDataError, match=r"real\.csv.*velo clean"):
        data_kind(folder)


def test_a_marker_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    folder = simulated_root(tmp_path)
    (folder / MARKER_NAME).write_text("{broken", encoding="utf-8")
    with pytest.raises(MixedDataError, match="cannot be read"):
        data_kind(folder)


def test_removal_leaves_everything_that_was_not_simulated(tmp_path: Path) -> None:
    folder = simulated_root(tmp_path)
    (folder / "real.csv").write_text("date\n", encoding="utf-8")
    (tmp_path / "truth" / "notes.txt").write_text("mine", encoding="utf-8")
    removed = {path.relative_to(tmp_path).as_posix() for path in remove_simulated(tmp_path)}
    assert removed == {"raceform/simulated_2016.csv", "raceform/SIMULATED.json", "truth/truth_2016.parquet"}
    assert [path.name for path in folder.iterdir()] == ["real.csv"]
    assert [path.name for path in (tmp_path / "truth").iterdir()] == ["notes.txt"]
    assert remove_simulated(tmp_path) == []


def test_a_changed_file_is_not_removed(tmp_path: Path) -> None:
    folder = simulated_root(tmp_path)
    (folder / "simulated_2016.csv").write_text("date\nedited by hand\n", encoding="utf-8")
    remove_simulated(tmp_path)
    assert (folder / "simulated_2016.csv").exists()
    assert data_kind(folder) == "real"


def test_a_marker_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    folder = simulated_root(tmp_path)
    outside = tmp_path / "precious.csv"
    outside.write_text("keep", encoding="utf-8")
    write_marker(folder, Marker(seed=1, edge=0.0, files={"../precious.csv": sha256(outside)}))
    remove_simulated(tmp_path)
    assert outside.exists()
