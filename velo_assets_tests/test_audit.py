"""The dependency audit: known vulnerabilities fail `make lint`, a machine without a network does not."""

import json
import subprocess
from types import SimpleNamespace

import pytest

from benchmarks import audit


def answered(monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str = "") -> None:
    monkeypatch.setattr(audit, "_reachable", lambda: True)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=stdout, stderr=stderr))


def test_without_a_network_it_says_so_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_reachable", lambda: False)
    code, message = audit.audit()
    assert code == 0
    assert "not done" in message


def test_a_service_that_does_not_answer_is_no_fault_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, "", "ConnectionError: connection reset by peer")
    code, message = audit.audit()
    assert code == 0
    assert "no answer" in message


def test_a_known_vulnerability_fails_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    flaw = {"id": "PYSEC-1", "fix_versions": ["2.0"]}
    answered(monkeypatch, json.dumps({"dependencies": [{"name": "left", "version": "1.0", "vulns": [flaw]}]}))
    code, message = audit.audit()
    assert code == 1
    assert "left 1.0: PYSEC-1" in message


def test_pinned_packages_without_a_flaw_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, json.dumps({"dependencies": [{"name": "left", "version": "1.0", "vulns": []}]}))
    assert audit.audit() == (0, "audit: no known vulnerability in 1 pinned packages.")
