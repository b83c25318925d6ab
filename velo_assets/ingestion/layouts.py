"""The three generations of the raceform export, told apart by their header.

Here: which columns each layout has and how they map to the 37 canonical names. Not here: reading files (raceform.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from velo_assets.ingestion.parsed import LayoutError

RACEFORM_COLUMNS: tuple[str, ...] = (
    "date", "course", "race_id", "off", "race_name", "type", "class", "pattern", "rating_band", "age_band", "sex_rest",
    "dist", "going", "ran", "num", "pos", "draw", "ovr_btn", "btn", "horse", "age", "sex", "wgt", "hg", "time", "sp",
    "jockey", "trainer", "prize", "or", "rpr", "ts", "sire", "dam", "damsire", "owner", "comment",
)  # fmt: skip
"""The canonical columns, all text, in the order of the first layout."""

EXTRA_COLUMNS: tuple[str, ...] = ("dec", "lbs", "secs", "dist_f", "dist_m", "dist_y", "region", "surface")
"""Columns that only later layouts have; kept beside the canonical ones, null where a layout lacks them."""

LANDED_COLUMNS: tuple[str, ...] = RACEFORM_COLUMNS + EXTRA_COLUMNS
"""Raw text columns of landing.raceform."""

_TITLED_NAMES: dict[str, str] = {
    "Date": "date", "Course": "course", "Off": "off", "Name": "race_name", "Type": "type", "Class": "class",
    "Pattern": "pattern", "Rating_Band": "rating_band", "Age_Band": "age_band", "Sex_Rest": "sex_rest",
    "Dist": "dist", "Dist_Y": "dist_y", "Dist_M": "dist_m", "Dist_F": "dist_f", "Going": "going", "Num": "num",
    "Pos": "pos", "Ran": "ran", "Draw": "draw", "Btn": "btn", "Ovr_Btn": "ovr_btn", "Horse": "horse", "SP": "sp",
    "Dec": "dec", "Age": "age", "Sex": "sex", "Wgt": "wgt", "Lbs": "lbs", "HG": "hg", "Time": "time",
    "Jockey": "jockey", "Trainer": "trainer", "OR": "or", "RPR": "rpr", "TS": "ts", "Prize": "prize",
    "Sire": "sire", "Dam": "dam", "Damsire": "damsire", "Owner": "owner", "Comment": "comment",
}  # fmt: skip

_LOWER_2025_REQUIRED: tuple[str, ...] = (
    "date", "region", "course", "off", "race_name", "type", "class", "pattern", "rating_band", "age_band", "sex_rest",
    "dist", "dist_f", "dist_m", "going", "ran", "num", "pos", "draw", "ovr_btn", "btn", "horse", "age", "sex", "lbs",
    "hg", "time", "secs", "dec", "jockey", "trainer", "prize", "or", "rpr", "sire", "dam", "damsire", "owner",
    "comment",
)  # fmt: skip

_LOWER_2025_OPTIONAL: tuple[str, ...] = (
    "ts", "surface", "dist_y", "race_id", "sp", "wgt", "course_id", "horse_id", "jockey_id", "trainer_id", "sire_id",
    "dam_id", "damsire_id", "owner_id", "silk_url",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """One generation of the export.

    Attributes:
        name: how manifest and errors call it.
        required: column of the file -> canonical column.
        optional: columns a user's export settings may add; those with a canonical name are kept, ids are not.
    """

    name: str
    required: dict[str, str]
    optional: tuple[str, ...] = ()

    def canonical(self, column: str) -> str | None:
        """Canonical name of a column of the file, or None for one that is recognised but not kept."""
        name = self.required.get(column, column)
        return name if name in LANDED_COLUMNS else None


LAYOUTS: tuple[Layout, ...] = (
    Layout("raceform_37", {name: name for name in RACEFORM_COLUMNS}),
    Layout("titled_2020", _TITLED_NAMES, optional=("Race_ID",)),
    Layout("lower_2025", {name: name for name in _LOWER_2025_REQUIRED}, _LOWER_2025_OPTIONAL),
)
"""All layouts that are accepted."""


def detect_layout(path: Path, header: Sequence[str]) -> Layout:
    """The layout with exactly the columns of this header, in any order.

    Args:
        path: the file, for the error.
        header: column names as they stand in the file.

    Raises:
        LayoutError: unknown header; names the nearest layout, and what is missing from it and unknown to it.
    """
    names = set(header)
    repeated = sorted({name for name in header if list(header).count(name) > 1})
    for layout in LAYOUTS:
        required = set(layout.required)
        if not repeated and required <= names and names <= required | set(layout.optional):
            return layout
    nearest = max(LAYOUTS, key=lambda layout: len(names & set(layout.required)) / len(layout.required))
    missing = [name for name in nearest.required if name not in names]
    unknown = [name for name in header if name not in nearest.required and name not in nearest.optional]
    if len(missing) == len(nearest.required):
        raise LayoutError(path, _no_header_message(header))
    if repeated:
        raise LayoutError(path, f"the header names these columns twice: {', '.join(repeated)}.")
    raise LayoutError(
        path,
        f"unknown header; the nearest layout is {nearest.name}. Missing columns: {_listed(missing)}. "
        f"Unknown columns: {_listed(unknown)}. Rename or export the columns, then land the file again.",
    )


def is_header(values: Sequence[str]) -> bool:
    """Whether a row of values is itself the header of a known layout."""
    names = set(values)
    return any(len(names & set(layout.required)) > len(layout.required) // 2 for layout in LAYOUTS)


def _no_header_message(header: Sequence[str]) -> str:
    first = header[0] if header else ""
    for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if first.lower().split(delimiter)[0] == "date" and delimiter in first:
            return f"the header is separated by {name}; write the file with commas."
    shown = ", ".join(str(name)[:30] for name in header[:5])
    return f"the first row is no header of a known layout (it starts: {shown}). Put the header back as the first row."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:40]) or "none"
