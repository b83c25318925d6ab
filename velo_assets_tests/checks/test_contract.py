"""What the checks of a contract say besides yes and no."""

from pathlib import Path

import dagster as dg

from velo_assets.checks.contract import checks
from velo_assets.ingestion.landing import land
from velo_assets.resources.data import WarehouseResource
from velo_assets.settings import DataRoot
from velo_assets_tests.ingestion.raceform_rows import beaten, csv_text, row


def test_reasons_of_rejected_rows_are_counted_without_those_of_fields(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    root.raceform.mkdir()
    text = csv_text([row(), beaten(sp="-1/1"), beaten(date="yesterday")])
    (root.raceform / "a.csv").write_text(text, encoding="utf-8")
    warehouse = WarehouseResource(database=str(root.warehouse))
    with warehouse.get_connection() as connection:
        land(root, connection)
    key = dg.AssetCheckKey(dg.AssetKey(["landing", "raceform"]), "rejects_under_ceiling")
    (check,) = [check for check in checks() if key in check.check_keys]
    result = check(warehouse=warehouse)
    reasons = {name: entry.value for name, entry in result.metadata.items() if name.startswith("reason ")}
    assert result.metadata["rejected"].value == 1
    assert list(reasons.values()) == [1]
