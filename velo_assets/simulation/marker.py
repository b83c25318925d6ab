"""Keeping simulated results apart from real ones: the marker file, what a folder holds, and removal of what was
simulated.

The marker `raceform/SIMULATED.json` lists every simulated file with its hash. A file in `raceform/` that it does not
list is real. Nothing here simulates.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from velo_assets.ingestion.inputs import MARKER_NAME, files_in

UNWRITTEN = ""
"""In the place of the hash of a season that is to come."""

DataKind = Literal["empty", "simulated", "real"]


class MixedDataError(RuntimeError):
    """A raceform folder holds simulated and real results side by side, or would."""


@dataclass(frozen=True)
class Marker:
    """Contents of `SIMULATED.json`.

    Attributes:
        seed: seed of the world. edge: market inefficiency. files: sha256 by file name, `UNWRITTEN` until it is written.
    """

    seed: int
    edge: float
    files: dict[str, str]

    @property
    def is_complete(self) -> bool:
        """Whether the simulation wrote all its files; one that was stopped did not."""
        return UNWRITTEN not in self.files.values()


def season_file(year: int) -> str:
    """Name of the file of a simulated season."""
    return f"simulated_{year}.csv"


def sha256(path: Path) -> str:
    """Hash of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_marker(raceform_dir: Path) -> Marker | None:
    """The marker of a raceform folder, None when there is none.

    Raises:
        MixedDataError: the marker exists but cannot be read; it is then unknown which files are simulated.
    """
    path = raceform_dir / MARKER_NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Marker(seed=int(content["seed"]), edge=float(content["edge"]), files=dict(content["files"]))
    except (ValueError, KeyError, TypeError) as error:
        raise MixedDataError(
            f"{path} cannot be read ({error}), so it is unknown which files here are simulated. "
            "Move real files to another data root, or delete the folder and simulate again."
        ) from error


def write_marker(raceform_dir: Path, marker: Marker) -> Path:
    """Write the marker; whole or not at all."""
    path = raceform_dir / MARKER_NAME
    content = {"seed": marker.seed, "edge": marker.edge, "files": dict(sorted(marker.files.items()))}
    draft = path.with_name(f".{MARKER_NAME}.part")
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def result_files(raceform_dir: Path) -> list[Path]:
    """Everything in a raceform folder that counts as results: what landing takes, and downloads that are not finished,
    because what comes of them is real."""
    return list(files_in(raceform_dir, unfinished=True))


def data_kind(raceform_dir: Path) -> DataKind:
    """Whether a raceform folder is empty, simulated or real.

    Args:
        raceform_dir: the folder; may be missing (then `empty`).

    Raises:
        MixedDataError: both kinds are present. The message names the files and what to do.
    """
    files = result_files(raceform_dir)
    marker = read_marker(raceform_dir)
    if not files:
        return "empty"
    listed = set(marker.files) if marker else set()
    unlisted = [path for path in files if path.relative_to(raceform_dir).as_posix() not in listed]
    if not unlisted:
        return "simulated"
    if len(unlisted) == len(files):
        return "real"
    examples = ", ".join(path.name for path in unlisted[:3])
    raise MixedDataError(
        f"{raceform_dir} holds simulated results (listed in {MARKER_NAME}) and {len(unlisted)} file(s) that were not "
        f"simulated ({examples}). They never mix: run `velo clean` to remove the simulated files, or move the real "
        "ones to another data root."
    )


def require_room_for_simulation(raceform_dir: Path) -> None:
    """Check that simulated results may be written here.

    Raises:
        MixedDataError: the folder holds a file that the marker does not list.
    """
    kind = data_kind(raceform_dir)
    if kind == "real":
        examples = ", ".join(path.name for path in result_files(raceform_dir)[:3])
        raise MixedDataError(
            f"{raceform_dir} holds results that were not simulated ({examples}). Simulated results are not written "
            "beside them: give another folder with --out."
        )


def remove_simulated(root: Path) -> list[Path]:
    """Remove what a simulation wrote under a data root, and nothing else.

    Files listed in the marker go only while their hash still matches: a file changed or replaced since is somebody's
    work. The truth folder goes too. A changed file keeps its place, no longer listed, so the folder counts as real
    from then on.

    Args:
        root: data root that holds `raceform/` and `truth/`.

    Returns:
        The paths removed; empty when there is no marker.
    """
    raceform_dir = root / "raceform"
    marker = read_marker(raceform_dir)
    if marker is None:
        return []
    removed: list[Path] = []
    for name, digest in sorted(marker.files.items()):
        path = raceform_dir / name
        inside = path.resolve().is_relative_to(raceform_dir.resolve())
        if inside and path.is_file() and sha256(path) == digest:
            path.unlink()
            removed.append(path)
    truth_dir = root / "truth"
    for path in sorted(truth_dir.glob("truth_*.parquet")):
        path.unlink()
        removed.append(path)
    if truth_dir.is_dir() and not any(truth_dir.iterdir()):
        truth_dir.rmdir()
    marker_path = raceform_dir / MARKER_NAME
    marker_path.unlink()
    removed.append(marker_path)
    return removed
