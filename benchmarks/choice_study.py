"""What choosing between two recipes and trying a version repeatedly cost the promotion gate: luck alone, in seconds.

Two recipes without edge have a gain over the market that is noise, one number a fold. The gate passes what lies 1.96
standard errors above 0, one time in forty. Which recipe is judged is chosen by the folds, as `choose_shipped` does.

    python -m benchmarks.choice_study
"""

from __future__ import annotations

import numpy as np

from velo_assets.modelling.promotion import TRIAL_CLEARANCE, TRIAL_DAYS

FOLDS = 6
"""Of equal size, as Hong Kong 2018 to 2023."""
WORLDS = 400_000
CORRELATIONS = (0.0, 0.5, 0.9)
"""Between the gains of the two recipes; blend and experts read the same market, so theirs lies high."""
PASSES_ABOVE = 1.96


def lucky_passes(correlation: float, seed: int = 7) -> tuple[float, float, float]:
    """How often luck passes: one recipe fixed, the final choice judged on all folds, the choice of each fold nested.

    Args:
        correlation: between the gains of the two recipes in a fold.
        seed: of the worlds.
    """
    generator = np.random.default_rng(seed)
    shared, own = np.sqrt(correlation), np.sqrt(1.0 - correlation)
    gain = shared * generator.normal(size=(WORLDS, 1, FOLDS)) + own * generator.normal(size=(WORLDS, 2, FOLDS))
    before = np.cumsum(gain, axis=2) - gain
    better = before[:, 1] > before[:, 0]  # By fold, from the folds before it: False, the first recipe, in the first.
    nested = np.where(better, gain[:, 1], gain[:, 0])
    final = np.where(better[:, -1:], gain[:, 1], gain[:, 0])
    fixed, chosen, by_fold = (
        float((judged.sum(axis=1) / np.sqrt(FOLDS) > PASSES_ABOVE).mean()) for judged in (gain[:, 0], final, nested)
    )
    return fixed, chosen, by_fold


def lucky_trials(clearance: float, seed: int = 7) -> float:
    """How often an equal challenger passes one of the trials of `promotion.TRIAL_DAYS`.

    Args:
        clearance: standard errors that the gain must lie above 0.
        seed: of the worlds.
    """
    generator = np.random.default_rng(seed)
    days = np.array(TRIAL_DAYS)
    added = np.diff(np.concatenate(([0], days)))
    gain = np.cumsum(generator.normal(size=(WORLDS, len(days))) * np.sqrt(added), axis=1) / np.sqrt(days)
    return float((gain.max(axis=1) > clearance).mean())


def section() -> list[str]:
    """Lines of docs/gate_study.md."""
    lines = [
        "## What choosing the recipe would cost",
        "",
        "The worlds above hold one recipe, the blend. The product ships the better of blend and experts on all folds",
        "but the last. `python -m benchmarks.choice_study` simulates that choice alone, without races: the gains of",
        f"two recipes without edge in {FOLDS} folds are normal noise, {WORLDS:,} worlds, and what lies 1.96 standard",
        "errors above 0 passes. Nested: each fold is judged by the choice of the folds before it.",
        "",
        "| correlation of the gains | one recipe, fixed | the final choice, judged on all folds | nested |",
        "|---|---|---|---|",
    ]
    for correlation in CORRELATIONS:
        shares = " | ".join(f"{share:.1%}" for share in lucky_passes(correlation))
        lines.append(f"| {correlation:g} | {shares} |")
    lines += [
        "",
        "The gate judges the nested choice (`betting.backtest.judged_probability`), for the version on trial and for",
        "the champion alike, so the choice costs nothing of its one pass in forty.",
        "",
        "## What trying a version four times would cost",
        "",
        f"A challenger meets the champion after {', '.join(map(str, TRIAL_DAYS))} racing days since the training of",
        "the younger one, each time on all races since (`serving/trial.py`). Simulated as above, one of two equal",
        f"versions would pass one of these at {PASSES_ABOVE} standard errors in {lucky_trials(PASSES_ABOVE):.1%} of",
        f"cases, and does at the {TRIAL_CLEARANCE} that are asked for in {lucky_trials(TRIAL_CLEARANCE):.1%}.",
        "",
    ]
    return lines


if __name__ == "__main__":
    print("\n".join(section()))
