from __future__ import annotations

from pathlib import Path

import pytest

from velo_assets.ingestion.layouts import LANDED_COLUMNS, LAYOUTS, RACEFORM_COLUMNS, detect_layout, is_header
from velo_assets.ingestion.parsed import LayoutError

PATH = Path("a.csv")


def test_there_are_37_canonical_columns() -> None:
    assert len(RACEFORM_COLUMNS) == len(set(RACEFORM_COLUMNS)) == 37


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_each_layout_is_told_by_its_header_in_any_order(layout: object) -> None:
    header = list(layout.required)  # type: ignore[attr-defined]
    assert detect_layout(PATH, header) is layout
    assert detect_layout(PATH, header[::-1]) is layout
    assert is_header(header)
    assert set(layout.required.values()) <= set(LANDED_COLUMNS)  # type: ignore[attr-defined]


def test_optional_columns_of_2025_are_accepted_and_ids_not_kept() -> None:
    layout = LAYOUTS[2]
    assert detect_layout(PATH, [*layout.required, "horse_id", "surface", "ts", "sp"]) is layout
    assert layout.canonical("surface") == "surface"
    assert layout.canonical("horse_id") is None


def test_a_row_of_values_is_no_header() -> None:
    assert not is_header(["2015-04-26", "Wetherby", "622456"])


def test_unknown_header_names_missing_unknown_and_nearest() -> None:
    header = [name for name in RACEFORM_COLUMNS if name not in ("sp", "wgt")] + ["price"]
    with pytest.raises(LayoutError) as refusal:
        detect_layout(PATH, header)
    assert str(refusal.value) == (
        "a.csv: unknown header; the nearest layout is raceform_37. Missing columns: wgt, sp. Unknown columns: price. "
        "Rename or export the columns, then land the file again."
    )
