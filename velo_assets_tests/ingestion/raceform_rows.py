"""Writes small raceform files for tests: one valid row, to be overridden field by field."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from velo_assets.ingestion.layouts import RACEFORM_COLUMNS

ROW = {
    "date": "2015-04-26", "course": "Wetherby", "race_id": "622456", "off": "5:45", "race_name": "Casino Handicap",
    "type": "Flat", "class": "Class 5", "pattern": "", "rating_band": "0-70", "age_band": "4yo+", "sex_rest": "",
    "dist": "1m1f", "going": "Good", "ran": "2", "num": "6.0", "pos": "1", "draw": "8.0", "ovr_btn": "0",
    "btn": "0", "horse": "Gala Casino Star (IRE)",
    "age": "10", "sex": "G", "wgt": "8-12", "hg": "v", "time": "1:54.79", "sp": "3/1",
    "jockey": "Jordan Nason", "trainer": "Lawrence Mullaney", "prize": "312.65", "or": "68", "rpr": "62", "ts": "–",
    "sire": "Dr Fong (USA)", "dam": "Abir GB", "damsire": "Soviet Star", "owner": "G B Racing Club",
    "comment": "Soon tracking leaders - headed 2f out(op 25/1)",
}  # fmt: skip
"""A winner; values from the public sample."""


def row(**changes: str) -> dict[str, str]:
    """The valid row with changes; `or_` stands for the column `or`."""
    return {**ROW, **{name.removesuffix("_"): value for name, value in changes.items()}}


def beaten(**changes: str) -> dict[str, str]:
    """The runner that came second to `row()`."""
    second = {"num": "2.0", "pos": "2", "draw": "1.0", "ovr_btn": "0.5", "btn": "0.5", "horse": "Azamaara (IRE)"}
    return row(**{**second, "dam": "Canary Queen (IRE)", "sp": "5/1", **changes})


def csv_text(rows: Sequence[dict[str, str]], columns: Sequence[str] = RACEFORM_COLUMNS) -> str:
    """Rows as the export writes them, header first."""
    output = io.StringIO(newline="")
    writer = csv.DictWriter(output, fieldnames=list(columns), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue()


def line(values: dict[str, str]) -> str:
    """One row as a CSV line without its line feed."""
    return csv_text([values]).splitlines()[1]


HEADER = ",".join(RACEFORM_COLUMNS)
