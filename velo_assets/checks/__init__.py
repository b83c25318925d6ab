"""Dagster asset checks by purpose: contract, leakage, quality."""

from __future__ import annotations

import dagster as dg


def all_checks() -> list[dg.AssetChecksDefinition]:
    """Every asset check of the house."""
    from velo_assets.checks import contract, leakage, quality

    return [*contract.checks(), *leakage.checks(), *quality.checks()]
