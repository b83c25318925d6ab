"""Which feature families earn their place: the fundamental model with each left out, and with the first 21 alone.

python -m benchmarks.families_study --root DIR --out docs/feature_families.md

Reads a finished build (`velo run --to market`) and changes nothing in it. Belongs here: what a family is worth to the
fundamental model. Not here: what modules add to the market (models_study).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from velo_assets.modelling.bootstrap import Interval, paired_delta_r2
from velo_assets.modelling.conditional_logit import LinearLogit, choice_stages
from velo_assets.modelling.fundamental import (
    FundamentalSettings,
    finishing_positions,
    fit_fundamental,
    settings_for,
)
from velo_assets.modelling.races import FloatArray, Races, feature_matrix, mcfadden_r2, priced_frame, settled_frame
from velo_assets.modelling.softmax import boost, with_rounds
from velo_assets.modelling.walk_forward import Fold, scored_rows, train_rows
from velo_assets.modelling.yearly import folds_of
from velo_assets.serving.training import feature_families
from velo_assets.settings import DECISION_PRICE, DataRoot
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import feature_columns, training_frame

BEFORE = (
    *("trainer_sr_14d", "trainer_sr_30d", "trainer_sr_90d", "jockey_sr_14d", "jockey_sr_30d", "jockey_sr_90d"),
    *("tj_combo_uplift", "class_drop", "classdrop_flag", "layoff_days", "layoff_penalty", "freshness_flag"),
    *("weight_delta", "or_delta", "course_going_iv", "draw_iv", "bias_persist_flag"),
    *("form_ewma", "form_slope", "ts_trend", "form_var"),
)
"""The 21 features of v1.1, with which the project began."""

WITHIN_RACE = "within_race"
FORMS = ("_z", "_gap", "_rank")
"""Suffixes of the within-race forms; a family that is left out takes the forms of its values with it."""

NOISE = "(all families, another seed)"
SEED, OTHER_SEED = 11, 37


@dataclass
class Scored:
    """Losses of every variant, fold after fold.

    Attributes:
        loss: variant to `(races,)` per fold.
        log_runners: `(races,)` per fold.
        days: `(races,)` per fold.
        before: R2 of the 21 features per fold.
        after: R2 of the shipped settings per fold.
        market: R2 of the market per fold.
    """

    loss: dict[str, list[FloatArray]] = field(default_factory=dict)
    log_runners: list[FloatArray] = field(default_factory=list)
    days: list[np.ndarray[tuple[int], np.dtype[np.datetime64]]] = field(default_factory=list)
    before: list[FloatArray] = field(default_factory=list)
    after: list[FloatArray] = field(default_factory=list)
    market: list[FloatArray] = field(default_factory=list)


def home(name: str, families: Mapping[str, str]) -> str:
    """Family of a feature; of a within-race form, that of the value it compares."""
    if families[name] != WITHIN_RACE:
        return families[name]
    return families[next(name.removesuffix(form) for form in FORMS if name.endswith(form))]


def members(features: Sequence[str], families: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Features of each family, the within-race forms of its values included."""
    own: dict[str, list[str]] = {}
    for name in features:
        for family in dict.fromkeys((families[name], home(name, families))):
            own.setdefault(family, []).append(name)
    return {family: tuple(names) for family, names in sorted(own.items())}


def score_fold(
    frame: pl.DataFrame, features: Sequence[str], groups: Mapping[str, Sequence[str]], fold: Fold, scored: Scored
) -> None:
    """Fit and score every variant of one fold.

    Rounds and mix are those of the whole model; every variant then has one seed, the same rounds and the same mix, so
    that nothing but its features differs.
    """
    train, rows = train_rows(frame, fold), priced_frame(settled_frame(scored_rows(frame, fold)))
    races = Races.from_frame(rows)
    whole = fit_fundamental(train, features, fold.cutoff)
    first = fit_fundamental(train, BEFORE, fold.cutoff)
    scored.after.append(races.loss(races.softmax(whole.score(rows))))
    scored.before.append(races.loss(races.softmax(first.score(rows))))
    scored.market.append(races.loss(rows["market_probability"].to_numpy()))
    scored.log_runners.append(np.log(races.field_size))
    scored.days.append(races.race_date)
    settled = settled_frame(train)
    settings = settings_for(len(Races.from_frame(settled)))
    variants: dict[str, tuple[tuple[str, ...], int]] = {
        "": (tuple(features), SEED),
        NOISE: (tuple(features), OTHER_SEED),
    }
    for family, names in groups.items():
        variants[family] = (tuple(name for name in features if name not in names), SEED)
    for variant, (names, seed) in variants.items():
        score = _quick(settled, rows, names, settings, max(whole.trees_.rounds_, 1), whole.mix_, seed)
        scored.loss.setdefault(variant, []).append(races.loss(races.softmax(score)))


def _quick(
    train: pl.DataFrame,
    rows: pl.DataFrame,
    names: Sequence[str],
    settings: FundamentalSettings,
    rounds: int,
    mix: tuple[float, float],
    seed: int,
) -> FloatArray:
    """Score of trees of one seed and a linear logit on some of the features."""
    races, matrix = Races.from_frame(train), feature_matrix(train, names)
    stages = choice_stages(races, finishing_positions(train), settings.place_weights)
    trees = boost(matrix, races, stages, with_rounds(settings.booster, rounds), (seed,))
    linear = LinearLogit.fit(matrix, races, names, ridge=settings.ridge, stages=stages, errors=False)
    scored = feature_matrix(rows, names)
    return mix[0] * trees.score(scored) + mix[1] * linear.score(scored, Races.from_frame(rows))


def gain(scored: Scored, variant: str, folds: int) -> Interval:
    """R2 lost over the first so many folds when the variant's family is left out, against the mean of both seeds.

    One seed may be lucky by as much as a family is worth; the row of the other seed shows by how much.
    """
    pooled = {name: np.concatenate(scored.loss[name][:folds]) for name in ("", NOISE, variant)}
    whole = pooled[""] if variant == NOISE else (pooled[""] + pooled[NOISE]) / 2
    log_runners, days = np.concatenate(scored.log_runners[:folds]), np.concatenate(scored.days[:folds])
    return paired_delta_r2(whole, pooled[variant], log_runners, days)


def report(
    scored: Scored, groups: Mapping[str, Sequence[str]], folds: Sequence[Fold], features: int, minutes: float
) -> str:
    """The study as Markdown."""
    years = [fold.fold for fold in folds]
    judged = len(years) - 1

    def r2(losses: Sequence[FloatArray], fold: int) -> float:
        return mcfadden_r2(losses[fold], np.exp(scored.log_runners[fold]).round().astype(np.int64))

    def pooled(losses: Sequence[FloatArray], count: int) -> float:
        return float(1 - np.concatenate(losses[:count]).sum() / np.concatenate(scored.log_runners[:count]).sum())

    def before_after(name: str, before: float, after: float, market: float) -> str:
        return f"| {name} | {before:.4f} | {after:.4f} | {after - before:+.4f} | {market:.4f} |"

    kinds = (scored.before, scored.after, scored.market)
    more = paired_delta_r2(
        np.concatenate(scored.after[:judged]),
        np.concatenate(scored.before[:judged]),
        np.concatenate(scored.log_runners[:judged]),
        np.concatenate(scored.days[:judged]),
    )
    span = f"{years[0]}-{years[judged - 1]}"
    lines = [
        *_INTRODUCTION.splitlines(),
        f"`DIR` is a finished build of these results. It took {minutes:.0f} minutes on a shared 2-core machine,",
        "21 November 2026. The last fold was opened once before (that day, 10:43); it is reported and decided nothing.",
        "",
        "## Before and after",
        "",
        f"The 21 features of v1.1 alone against the whole matrix ({features} features), with the shipped settings.",
        "",
        "| fold | R2 of the 21 | R2 of the matrix | change | R2 of the market |",
        "|---|---:|---:|---:|---:|",
        *(before_after(str(year), r2(kinds[0], i), r2(kinds[1], i), r2(kinds[2], i)) for i, year in enumerate(years)),
        before_after(span, *(pooled(kind, judged) for kind in kinds)),
        before_after(f"{years[0]}-{years[-1]}", *(pooled(kind, judged + 1) for kind in kinds)),
        "",
        f"Pooled over {span} the matrix adds {more.estimate:+.4f} [{more.low:+.4f}, {more.high:+.4f}].",
        "",
        *_LEFT_OUT.splitlines(),
        f"| left out | features | R2 lost {span} | 95% interval | {years[-1]} alone | verdict |",
        "|---|---:|---:|---|---:|---|",
    ]
    losses = {variant: gain(scored, variant, judged) for variant in scored.loss if variant}
    for variant in sorted(losses, key=lambda name: -losses[name].estimate):
        lost = losses[variant]
        of_last = [scored.loss[name][judged].sum() for name in (("",) if variant == NOISE else ("", NOISE))]
        last = float((scored.loss[variant][judged].sum() - np.mean(of_last)) / scored.log_runners[judged].sum())
        count = "" if variant == NOISE else str(len(groups[variant]))
        lines.append(
            f"| {variant} | {count} | {lost.estimate:+.5f} | {lost.low:+.5f} to {lost.high:+.5f} | {last:+.5f} | "
            f"{'' if variant == NOISE else _verdict(lost)} |"
        )
    earns = [name for name in losses if name != NOISE and losses[name].low > 0]
    lines += [
        "",
        f"One by one, {len(earns)} of {len(groups)} families earn their place:",
        f"{', '.join(earns) or 'none'}.",
        *_OUTLOOK.splitlines(),
        "",
    ]
    return "\n".join(lines)


_INTRODUCTION = """# Feature families: which earn their place

Written by `benchmarks/families_study.py`; do not edit by hand. Hong Kong results 2016-2023 (78,396 starters), the
price-free fundamental model, walk-forward by years. Intervals resample race days.

    python -m benchmarks.families_study --root DIR --out docs/feature_families.md

"""

_LEFT_OUT = """## Leave one family out

R2 that the model loses without the family. A family takes the within-race forms (z-score, gap, rank) of its values with
it; `within_race` is all of these forms and nothing else. All variants have one seed of trees, and the rounds and the
mix of the whole model, so that nothing but the features differs; the loss is counted from the mean of the whole model
with two seeds. The row in brackets leaves nothing out: it is the one seed less the other, the luck of the trees.

"""

_OUTLOOK = """
Families overlap (past prices, figures and form tell much the same), so a family whose loss can't be told from 0 may
still matter together with others. Dropping several was not tried: choosing by the folds that are reported would be
tuning on them."""


def _verdict(lost: Interval) -> str:
    if lost.low > 0:
        return "earns its place"
    return "costs" if lost.high < 0 else "no clear effect alone"


def main() -> None:
    """Run the study and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="data root of a finished build")
    parser.add_argument("--out", type=Path, default=Path("docs/feature_families.md"))
    parser.add_argument("--years", type=int, default=0, help="score only the last so many folds; all when 0")
    arguments = parser.parse_args()
    root = DataRoot(arguments.root.resolve())
    frame = training_frame(root.exports, Warehouse(root.warehouse), 9999, DECISION_PRICE.kind)
    features = feature_columns(frame)
    groups = members(features, feature_families())
    folds = [fold for fold in folds_of(frame, range(9999)) if not fold.warm_up][-arguments.years :]
    scored, began = Scored(), time.perf_counter()
    for fold in folds:
        score_fold(frame, features, groups, fold, scored)
        print(f"{fold.fold}: {time.perf_counter() - began:.0f} s", flush=True)
    text = report(scored, groups, folds, len(features), (time.perf_counter() - began) / 60)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
