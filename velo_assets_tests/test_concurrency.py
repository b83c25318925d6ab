"""Several real processes on one warehouse: writers of different years, readers, snapshots; nothing fails or differs."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from benchmarks.measure import differing
from velo_assets.ingestion.landing import land
from velo_assets.settings import DataRoot
from velo_assets.simulation.world import simulate
from velo_assets.warehouse.connection import Warehouse

YEARS = (2021, 2022, 2023)
TABLES = ("core/races", "core/entries", "core/results")

WRITER = """
import sys
from datetime import date
from pathlib import Path
from velo_assets.warehouse.build import build_table
from velo_assets.warehouse.connection import Warehouse
first, last = map(int, sys.argv[2].split("-"))
for table in sys.argv[3:]:
    with Warehouse(Path(sys.argv[1])).connect("writer") as connection:
        build_table(connection, table, date(first, 1, 1), date(last, 12, 31))
"""

READER = """
import sys
from pathlib import Path
from velo_assets.warehouse.connection import Warehouse
for _ in range(3):
    with Warehouse(Path(sys.argv[1])).read("notebook") as connection:
        counts = connection.execute(
            "select (select count(*) from core.races), (select count(distinct year(race_date)) from core.results)"
        ).fetchall()[0]
    assert counts == (int(sys.argv[2]), 3), counts
"""

SNAPSHOT = """
import sys
from pathlib import Path
from velo_assets.warehouse.connection import Warehouse
for _ in range(2):
    Warehouse(Path(sys.argv[1])).snapshot(Path(sys.argv[1]).parent / "snapshots" / "notebook.duckdb")
"""


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """Three small seasons, landed."""
    root = DataRoot(tmp_path)
    simulate(first_year=YEARS[0], last_year=YEARS[-1], races_per_year=50, seed=4, edge=0.5, out=tmp_path)
    with Warehouse(root.warehouse).connect() as connection:
        land(root, connection)
    return root


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stderr=subprocess.PIPE, text=True)


def test_many_processes_leave_what_one_leaves(root: DataRoot) -> None:
    path = str(root.warehouse)
    alone = start(WRITER, path, f"{YEARS[0]}-{YEARS[-1]}", *TABLES)
    _, errors = alone.communicate()
    assert alone.returncode == 0, errors
    expected = Warehouse(root.warehouse).snapshot(root.path / "alone.duckdb")
    with duckdb.connect(str(expected), read_only=True) as built:
        ((races,),) = built.execute("select count(*) from core.races").fetchall()
    assert races > 100

    notebook = root.path / "snapshots" / "notebook.duckdb"
    Warehouse(root.warehouse).snapshot(notebook)
    with duckdb.connect(str(notebook), read_only=True) as held_open:
        processes = [start(WRITER, path, f"{year}-{year}", *TABLES) for year in YEARS]
        processes += [start(WRITER, path, f"{YEARS[0]}-{YEARS[-1]}", *TABLES)]
        processes += [start(READER, path, str(races)), start(READER, path, str(races)), start(SNAPSHOT, path)]
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
        # The open notebook still reads the file it opened, though newer snapshots have taken its name.
        assert held_open.execute("select count(*) from core.races").fetchall() == [(races,)]
    assert differing(expected, root.warehouse) == {}
    assert differing(expected, notebook) == {}
    assert Warehouse(root.warehouse).holder() is None
    assert not list((root.path / "snapshots").glob("*.partial"))
