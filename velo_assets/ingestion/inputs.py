"""Which files of an input folder count: the one answer for landing, for the sensor, and for real against simulated.

Belongs here: names. Does not belong here: what is in a file; nothing heavy, because sensors import it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MARKER_NAME = "SIMULATED.json"
"""The list of simulated files, beside them."""

NOTES = ("readme", "readme.txt", MARKER_NAME.lower())
"""Files beside the inputs that hold none, in lower case."""

NOTE_ENDING = ".md"

UNFINISHED = (".part", ".partial", ".tmp", ".crdownload")
"""Endings of downloads that are not finished."""


def files_in(folder: Path, *, unfinished: bool = False) -> Iterator[Path]:
    """Files of an input folder and its sub-folders that hold inputs, sorted: neither hidden ones nor notes.

    Args:
        folder: the folder; may be missing.
        unfinished: with downloads that are not finished.
    """
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or _is_note(path) or (path.suffix.lower() in UNFINISHED and not unfinished):
            continue
        if path.is_file():
            yield path


def _is_note(path: Path) -> bool:
    return path.name.lower() in NOTES or path.suffix.lower() == NOTE_ENDING
