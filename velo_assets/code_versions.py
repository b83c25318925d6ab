"""Hashes of source code, so that a change of code makes what it built out of date.

Belongs here: hashing packages of this project. Does not belong here: hashes of SQL (sql_table.py), of data (builds.py).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parent


@cache
def code_version(*parts: str) -> str:
    """Hash of the Python files of some packages or modules.

    Args:
        parts: names below velo_assets, such as `modelling` (a package) or `settings` (a module).

    Returns:
        16 hexadecimal digits.

    Raises:
        FileNotFoundError: a part names neither a package nor a module.
    """
    digest = hashlib.sha256()
    for part in parts:
        folder = _ROOT / part
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
        for file in files:
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
