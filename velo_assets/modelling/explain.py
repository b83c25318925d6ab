"""Why a runner's probability is what it is: contributions of features and families, in log-odds, words and pictures.

Belongs here: LightGBM's own SHAP values and the linear model's terms on one scale, their summary, a runner's waterfall.
Does not belong here: training, and the page that shows the result.

A race softmax only knows differences between runners, so every contribution is told against the mean of its race. The
contributions of a runner then sum to how far its score lies above the race's mean score: a sum of +0.69 doubles its
odds against an average rival.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from velo_assets.modelling.fundamental import FundamentalModel
from velo_assets.modelling.guards import require_columns
from velo_assets.modelling.races import KEYS, FloatArray, Races, feature_matrix, race_sum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHER_FAMILY = "other"
"""Family of a feature that the mapping does not name."""

FOR_COLOUR = "#2a7f62"
AGAINST_COLOUR = "#b5483a"

SUMMARY_POINTS = 2000
"""Points drawn per feature in the summary; more only darken the same shape."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Contributions of all features to the scores of some runners.

    Attributes:
        keys: race_date, race_key, runner_key, one row per runner.
        features: names of the columns of `values` and `contributions`.
        families: family of each feature, in the same order.
        values: `(runners, features)` what the model read; NaN where missing, and for parts that are not features.
        contributions: `(runners, features)` log-odds against the mean of the race.
    """

    keys: pl.DataFrame
    features: tuple[str, ...]
    families: tuple[str, ...]
    values: FloatArray
    contributions: FloatArray

    def to_frame(self) -> pl.DataFrame:
        """Long table: race_date, race_key, runner_key, feature, family, value (null where missing), contribution."""
        count = len(self.features)
        rows = pl.Series(np.repeat(np.arange(self.keys.height), count))
        return self.keys[rows].with_columns(
            pl.Series("feature", list(self.features) * self.keys.height, dtype=pl.String),
            pl.Series("family", list(self.families) * self.keys.height, dtype=pl.String),
            pl.Series("value", self.values.ravel(), nan_to_null=True),
            pl.Series("contribution", self.contributions.ravel()),
        )

    def by_family(self) -> pl.DataFrame:
        """Wide table: the keys and one column per family, log-odds against the mean of the race."""
        columns = []
        for family in dict.fromkeys(self.families):
            members = [position for position, name in enumerate(self.families) if name == family]
            columns.append(pl.Series(family, self.contributions[:, members].sum(axis=1)))
        return self.keys.with_columns(columns)

    def summary(self) -> pl.DataFrame:
        """Features by their mean absolute contribution, largest first: feature, family, mean_absolute_contribution."""
        return pl.DataFrame(
            {
                "feature": list(self.features),
                "family": list(self.families),
                "mean_absolute_contribution": np.abs(self.contributions).mean(axis=0) if self.keys.height else 0.0,
            }
        ).sort("mean_absolute_contribution", "feature", descending=[True, False])

    def row(self, runner_key: int) -> int:
        """Row of a runner.

        Raises:
            KeyError: if the runner is not among the explained ones.
        """
        found = np.flatnonzero(self.keys["runner_key"].to_numpy() == runner_key)
        if not len(found):
            raise KeyError(f"runner {runner_key} is not explained; explain its whole race first")
        return int(found[0])


def explain(
    model: FundamentalModel,
    frame: pl.DataFrame,
    families: Mapping[str, str],
    *,
    weight: float = 1.0,
    parts: Mapping[str, tuple[str, FloatArray]] | None = None,
) -> Explanation:
    """Contributions of every feature, the trees' SHAP values and the linear model's terms added up.

    Args:
        model: the fundamental model.
        frame: runners of whole races, sorted by `KEYS`, with the model's features.
        families: family by feature name, the same names as in the feature catalogue.
        weight: weight of log f in the recipe to be explained: 1 for the fundamental model, alpha for a blend.
        parts: other parts of the recipe's score by name: their family and log-odds `(runners,)`, such as
            `{"market": ("market", beta * log_p)}`.

    Returns:
        The explanation; with the parts of a blend, contributions sum to its score less the race's mean score.

    Raises:
        MissingFeatureError: if a feature is missing.
        ValueError: if a part has another length than the frame.
    """
    require_columns(frame, (*KEYS, *model.features), "explain")
    races = Races.from_frame(frame)
    matrix = feature_matrix(frame, model.features)
    count = len(model.features)
    raw = np.zeros((frame.height, count))
    for_trees, for_linear = model.mix_
    if for_trees and model.trees_.texts_ and frame.height:
        raw += for_trees * model.trees_.contributions(matrix)[:, :count]
    if for_linear and frame.height:
        linear = model.linear_
        terms = linear.design(matrix, races) * linear.coefficients_
        used = list(linear.used_)
        raw[:, used] += for_linear * terms[:, : len(used)]
        for extra, position in enumerate(linear.indicators_, start=len(used)):
            raw[:, position] += for_linear * terms[:, extra]
    columns, values = [weight * raw], [matrix.astype(np.float64)]
    names, of_family = list(model.features), [families.get(name, OTHER_FAMILY) for name in model.features]
    for name, (family, log_odds) in (parts or {}).items():
        if len(log_odds) != frame.height:
            raise ValueError(f"explain: part {name!r} has {len(log_odds)} values for {frame.height} runners")
        columns.append(np.asarray(log_odds, dtype=np.float64)[:, None])
        values.append(np.full((frame.height, 1), np.nan))
        names.append(name)
        of_family.append(family)
    contributions = np.concatenate(columns, axis=1)
    if frame.height:
        means = race_sum(contributions, races.race_starts) / races.field_size[:, None]
        contributions = contributions - np.repeat(means, races.field_size, axis=0)
    return Explanation(
        frame.select(KEYS), tuple(names), tuple(of_family), np.concatenate(values, axis=1), contributions
    )


def waterfall_words(explanation: Explanation, runner_key: int, most: int = 3) -> str:
    """A runner's score in a few sentences, families first, then the single features that weigh most.

    Args:
        explanation: of its race.
        runner_key: the runner.
        most: features named for and against.
    """
    row = explanation.row(runner_key)
    own = explanation.contributions[row]
    total = float(own.sum())
    families: dict[str, float] = {}
    for family, value in zip(explanation.families, own, strict=True):
        families[family] = families.get(family, 0.0) + float(value)
    ordered = sorted(families.items(), key=lambda item: -abs(item[1]))
    side = "above" if total >= 0 else "below"
    sentences = [
        f"Score {abs(total):.2f} {side} the race's mean (odds times {np.exp(total):.2f}): "
        + ", ".join(f"{family} {value:+.2f}" for family, value in ordered)
        + "."
    ]
    for word, sign in (("For", 1.0), ("Against", -1.0)):
        order = np.argsort(-sign * own, kind="stable")[:most]
        named = [_feature_words(explanation, row, position) for position in order if sign * own[position] > 0]
        if named:
            sentences.append(f"{word}: {', '.join(named)}.")
    return " ".join(sentences)


def _feature_words(explanation: Explanation, row: int, position: int) -> str:
    name, value = explanation.features[position], explanation.values[row, position]
    shown = f" = {value:.4g}" if np.isfinite(value) else ""
    return f"{name}{shown} ({explanation.contributions[row, position]:+.2f})"


def waterfall_plot(explanation: Explanation, runner_key: int, most: int = 10) -> bytes:
    """A runner's score as a waterfall from the race's mean, as PNG bytes.

    No horse's name is drawn: names come in any script and the font has few; the page names the runner beside it.

    Args:
        explanation: of its race.
        runner_key: the runner.
        most: features shown on their own; the rest is one bar.
    """
    row = explanation.row(runner_key)
    own = explanation.contributions[row]
    order = np.argsort(-np.abs(own), kind="stable")
    shown, rest = order[:most], order[most:]
    labels = [_label(explanation, row, position) for position in shown]
    steps = [float(own[position]) for position in shown]
    if len(rest):
        labels.append(f"{len(rest)} others")
        steps.append(float(own[rest].sum()))
    ends = np.cumsum(steps)
    figure, axes = _figure(7.0, 1.0 + 0.32 * len(steps))
    places = np.arange(len(steps))
    colours = [FOR_COLOUR if step >= 0 else AGAINST_COLOUR for step in steps]
    axes.barh(places, steps, left=ends - np.asarray(steps), color=colours, height=0.7)
    for place, end, step in zip(places, ends, steps, strict=True):
        side = "left" if step >= 0 else "right"
        axes.annotate(f" {step:+.2f} ", (end, place), va="center", ha=side, fontsize=8)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    # Bars pin the axis to their ends otherwise, and the numbers would lie outside it.
    axes.use_sticky_edges = False
    axes.margins(x=0.12)
    axes.axvline(0.0, color="#888888", linewidth=0.8)
    axes.set_xlabel(f"log-odds above the race's mean (sum {float(own.sum()):+.2f})")
    return _png(figure)


def summary_plot(explanation: Explanation, most: int = 20, seed: int = 0) -> bytes:
    """Every runner's contribution of the features that weigh most, coloured by the feature's value, as PNG bytes.

    Args:
        explanation: of many races.
        most: features shown.
        seed: of the sample of runners and the jitter.

    Raises:
        ValueError: if there is no runner.
    """
    if not explanation.keys.height:
        raise ValueError("explain: no runner to summarise; explain at least one race")
    generator = np.random.default_rng(seed)
    names = explanation.summary()["feature"].to_list()[:most]
    rows = np.arange(explanation.keys.height)
    if len(rows) > SUMMARY_POINTS:
        rows = np.sort(generator.choice(rows, SUMMARY_POINTS, replace=False))
    figure, axes = _figure(7.5, 1.2 + 0.3 * len(names))
    drawn: Any = None
    for place, name in enumerate(names):
        position = explanation.features.index(name)
        own, value = explanation.contributions[rows, position], explanation.values[rows, position]
        known = np.isfinite(value)
        height = place + generator.uniform(-0.3, 0.3, len(rows))
        axes.scatter(own[~known], height[~known], s=4, color="#bbbbbb", linewidths=0)
        # Ranks, not values: one extreme value would leave all the others in one colour.
        _, rank = np.unique(value[known], return_inverse=True)
        drawn = axes.scatter(
            own[known],
            height[known],
            s=4,
            c=rank / max(rank.max(initial=0), 1),
            cmap="viridis",
            vmin=0,
            vmax=1,
            linewidths=0,
        )
    axes.set_yticks(np.arange(len(names)), [_plain(name) for name in names])
    axes.invert_yaxis()
    axes.axvline(0.0, color="#888888", linewidth=0.8)
    axes.set_xlabel("contribution, log-odds above the race's mean")
    bar = figure.colorbar(drawn, ax=axes, ticks=[0, 1], aspect=40)
    bar.ax.set_yticklabels(["low", "high"])
    bar.set_label("value of the feature (grey: missing)")
    return _png(figure)


def _label(explanation: Explanation, row: int, position: int) -> str:
    value = explanation.values[row, position]
    name = _plain(explanation.features[position])
    return f"{name} = {value:.4g}" if np.isfinite(value) else name


def _plain(text: str) -> str:
    """A dollar sign would start a formula."""
    return text.replace("$", r"\$")


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    # Figures without pyplot: nothing global, nothing to close, safe in a daemon.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the software line the same picture is the same bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
