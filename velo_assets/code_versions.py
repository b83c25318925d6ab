"""Hashes of source code, so that a change of code makes what it built out of date.

Belongs here: hashing packages of this project. Does not belong here: hashes of SQL (sql_table.py), of data (builds.py).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parent

SUFFIXES = (".py", ".toml", ".j2", ".css")
"""Files that decide what is built: code, declared strategies, the templates and the style of the pages. SQL files have
hashes of their own, a table each."""


@cache
def code_version(*parts: str) -> str:
    """Hash of the source files of some packages or modules.

    Args:
        parts: names below velo_assets, such as `modelling` (a package with all below it) or `settings` (a module).

    Returns:
        16 hexadecimal digits.

    Raises:
        FileNotFoundError: a part names neither a package nor a module.
    """
    digest = hashlib.sha256()
    for file in files_of(*parts):
        digest.update(str(file.relative_to(_ROOT)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def files_of(*parts: str) -> tuple[Path, ...]:
    """Source files of some packages or modules; arguments are those of `code_version`."""
    files: list[Path] = []
    for part in parts:
        folder = _ROOT / part
        in_folder = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
        files += in_folder if folder.is_dir() else [folder.with_suffix(".py")]
    return tuple(files)
