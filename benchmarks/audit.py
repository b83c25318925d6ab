"""Known vulnerabilities of the pinned packages: `python -m benchmarks.audit`, used by `make lint`.

Exit code 0 when none is known or nobody can be asked, 1 when a pinned package has a known one.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

SERVICE = ("pypi.org", 443)
TIMEOUT_SECONDS = 120.0
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"


def audit(constraints: Path = CONSTRAINTS) -> tuple[int, str]:
    """Ask the advisory service about every pinned version.

    Args:
        constraints: file of `name==version` lines.

    Returns:
        Exit code, and what to tell.
    """
    if not _reachable():
        return 0, f"audit: not done, {SERVICE[0]} can't be reached from here; run `make lint` again when online."
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps", "--disable-pip",
        "--progress-spinner", "off", "--format", "json",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return 0, f"audit: not done, no answer from the advisory service within {TIMEOUT_SECONDS:g} s."
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        if re.search(r"connect|timed? ?out|resolve|proxy|http|ssl|service", reason, re.IGNORECASE):
            return 0, f"audit: not done, the advisory service gave no answer ({reason})."
        return 1, f"audit: pip-audit failed: {reason}"
    found = [
        f"  {package['name']} {package['version']}: {flaw['id']}, fixed in {flaw['fix_versions'] or 'no version yet'}"
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    if found:
        return 1, "\n".join([f"audit: {len(found)} known vulnerabilities in pinned packages:", *found])
    return 0, f"audit: no known vulnerability in {len(packages)} pinned packages."


def _reachable() -> bool:
    try:
        with socket.create_connection(SERVICE, timeout=5):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    code, message = audit()
    print(message)
    sys.exit(code)
