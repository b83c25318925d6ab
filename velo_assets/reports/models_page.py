"""The models page: what each recipe, weight, calibration, module, family and filter is worth out of sample.

Belongs here: bringing the models' reports together, their wording, reports/models.html. Does not belong here: how any
of them is measured (modelling), money (tear_sheet), what ships (promotion).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from velo_assets.betting.backtest import choose_shipped, read_predictions
from velo_assets.betting.predictions import OFFSET_COLUMNS, SCORED_COLUMNS
from velo_assets.ingestion.manifest import results_kind
from velo_assets.modelling.blend import fit_blend, profile_likelihood
from velo_assets.modelling.calibration import calibration_summary, compare_calibrations
from velo_assets.modelling.disruption import fit_disruption
from velo_assets.modelling.guards import TooFewRacesError
from velo_assets.modelling.intent import fit_intent
from velo_assets.modelling.modules import (
    FIVE_FILTERS,
    filter_report,
    long_odds_check,
    module_report,
    offset_report,
)
from velo_assets.modelling.races import KEYS, Races, latest_races, sort_runners
from velo_assets.modelling.walk_forward import Fold, train_rows
from velo_assets.modelling.yearly import folds_of
from velo_assets.reports import plots
from velo_assets.reports.accuracy import comparable, fold_metrics, recipe_table
from velo_assets.reports.pages import banners, number, percent, render_page, tone
from velo_assets.serving.training import feature_families
from velo_assets.settings import PRICE_BUCKETS, PRICE_REGIMES, DataRoot, DecisionPrice
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import feature_columns, training_frame
from velo_assets.warehouse.query import frame_of, row_of

REPORT_RACES = 20_000
"""Races behind a report, the latest: with more, an interval of dR2 is below .001 anyway, and time is what is short."""

RECIPE_WORDS = {"market_beta": "market, exponent fitted", "fundamental": "fundamental (no price)"}

PROFILE_POINTS = 15
"""Grid of the likelihood's picture, per axis; rings drawn through more points look the same."""

OFFSETS = {"TIE": "tie_offset", "NDS": "nds_offset", "DLV": "dlv_offset"}
"""Modules that speak in log-odds over the market; DLV is the long-price expert within its band."""

MODULE_WORDS = {
    "TIE": "the trainer's choices at entry",
    "NDS": "over-betting",
    "DLV": "the long-price expert",
    "SSM": "running style and pace",
    "BOP": "draw and bias maps",
    "TRA": "trouble in running",
    "SQPE": "form, figures, class, weight, suitability",
}


@dataclass(frozen=True, eq=False)
class ModelsPage:
    """The page and what it rests on.

    Attributes:
        html: the self-contained page.
        pictures: PNG bytes by name.
        headline: the finding in one sentence.
        table: every report in one long table: `report, name, delta_r2, low, high, coefficient, standard_error, races,
            verdict`.
    """

    html: str
    pictures: dict[str, bytes]
    headline: str
    table: pl.DataFrame


def read_and_build(root: DataRoot, warehouse: Warehouse, price: DecisionPrice) -> ModelsPage:
    """Read the latest backtest and the exported matrix, and build the page; the warehouse is held while reading only.

    Raises:
        FileNotFoundError: the matrix has not been exported.
        ValueError: there is no prediction yet.
    """
    with warehouse.connect("models page: predictions") as connection:
        predictions = read_predictions(connection, price.kind, (*SCORED_COLUMNS, *OFFSET_COLUMNS))
        weights = frame_of(
            connection, "select distinct fold, alpha, alpha_se, beta, beta_se from models.blend order by fold"
        )
        longshot = frame_of(connection, "select runner_key, correction from models.expert_longshot")
        (last,) = row_of(connection, "select max(year(race_date)) from models.blend")
        simulated = results_kind(connection) == "simulated"
    frame = training_frame(root.exports, warehouse, last, price.kind, first_year=_first_year(predictions))
    return build_models_page(
        predictions.join(longshot, on="runner_key", how="left", maintain_order="left"),
        frame,
        weights,
        families=feature_families(),
        simulated=simulated,
        closing_price=price.is_closing,
    )


def _first_year(predictions: pl.DataFrame) -> int:
    """First year that the reports look at: enough for `REPORT_RACES` to train and to judge; 0 when all years are."""
    races = predictions.group_by(pl.col("race_date").dt.year().alias("year")).agg(pl.col("race_key").n_unique())
    total, last = 0, 0
    for year, count in races.sort("year", descending=True).iter_rows():
        last = last or year
        total += count
        if total >= 3 * REPORT_RACES:
            # The last fold needs two years of history to be a fold at all.
            return int(min(year, last - 2))
    return 0


def build_models_page(
    predictions: pl.DataFrame,
    frame: pl.DataFrame,
    weights: pl.DataFrame,
    *,
    families: Mapping[str, str],
    simulated: bool,
    closing_price: bool,
) -> ModelsPage:
    """Build the page.

    Args:
        predictions: wide frame of `betting.predictions.wide_predictions` with the modules' offsets and, for DLV, the
            long-price expert's `correction`.
        frame: training frame of all years (`warehouse.export.training_frame`).
        weights: `fold, alpha, alpha_se, beta, beta_se` of the blend.
        families: family by feature.
        simulated: whether the races come from the simulator.
        closing_price: whether the market is a price known only at the off.
    """
    shipped = choose_shipped(predictions)
    folds, pooled = fold_metrics(predictions, shipped=shipped, weights=weights)
    recipes = recipe_table(predictions, shipped)
    scored = sort_runners(comparable(predictions, shipped))
    rows = _judged_rows(predictions, frame)
    last = [fold for fold in folds_of(frame, predictions["fold"].unique().to_list()) if not fold.warm_up]
    grouped = _grouped(feature_columns(frame), families)
    modules = module_report(frame, grouped, _latest_folds(frame, last), train_races=REPORT_RACES)
    offsets = offset_report(rows, {name: column for name, column in OFFSETS.items() if column in rows.columns})
    filters = filter_report(rows, FIVE_FILTERS)
    calibrations = _calibrations(scored, shipped, last)
    signals = _signals(frame, last[-1])
    pictures, svg = _pictures(scored, folds, shipped)
    headline = _headline(pooled, shipped, closing_price)
    tables = [
        _section(
            "Recipes",
            "Out of sample, all on the same races. The market with its exponent fitted on earlier folds is what a "
            "recipe has to beat; only an interval above 0 is a gain.",
            [_recipes(recipes, shipped), _folds(folds)],
        ),
        _section(
            "Calibration",
            "A slope of 1 is right, below 1 too bold. The error is read beside its floor: what perfect chances would "
            "show on as many runners. Maps are fitted on earlier folds and judged on the last.",
            [_regimes(scored, shipped), *([_maps(calibrations)] if calibrations is not None else [])],
        ),
        _section(
            "Modules over the market",
            "Gain in R² over the market, out of sample, with its interval; the coefficient multiplies what the module "
            "says: 1 is to be believed as it stands, 0 adds nothing.",
            [_offsets(offsets, rows), _modules(modules.filter(pl.col("kind") == "module"), "Modules made of features")],
        ),
        _section(
            "Feature families over the market (V9PM)",
            "One linear model of all features beside the price; each family left out in turn.",
            [_modules(modules.filter(pl.col("kind") == "family"), "R² lost without the family")],
        ),
        _section(
            "The Five Filters",
            "All five side by side in one conditional logit over the market. A/E above 1: wins more than priced.",
            [_filters(filters)],
        ),
        _section(
            "What TIE and NDS listen to",
            f"Coefficients of fold {last[-1].fold}, per standard deviation of the signal, in log-odds over the market.",
            [_coefficients(name, table) for name, table in signals.items()],
        ),
    ]
    html = render_page(
        "models.html.j2",
        banners=banners(simulated=simulated, closing_price=closing_price),
        facts=f"to {_last_day(predictions)} · {predictions['race_key'].n_unique():,} races out of sample",
        footer="Made by VELO. Every probability comes from models fitted on earlier years. Intervals resample race "
        f"days. Module reports judge at most the latest {REPORT_RACES:,} races.",
        headline=headline,
        lead=_lead(offsets, modules, filters),
        pictures=svg,
        sections=tables,
    )
    return ModelsPage(html, pictures, headline, _long(recipes, offsets, modules, filters))


def _judged_rows(predictions: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Training rows of the latest predicted races with what the models said of them."""
    wanted = {"probability_fundamental": "fundamental_probability", "probability_experts": "expert_probability"}
    present = [name for name in (*wanted, "tie_offset", "nds_offset", "correction") if name in predictions.columns]
    said = predictions.select("runner_key", *present).rename({k: v for k, v in wanted.items() if k in present})
    rows = sort_runners(frame.join(said, on="runner_key", how="inner", maintain_order="left"))
    if "correction" in rows.columns:
        band = PRICE_REGIMES[-1]
        inside = pl.col("decimal_odds").is_between(band.low, band.high, closed="left")
        rows = rows.with_columns(pl.when(inside).then(pl.col("correction")).alias("dlv_offset"))
    return latest_races(rows, REPORT_RACES)


def _grouped(features: Sequence[str], families: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, list[str]] = {}
    for name in features:
        grouped.setdefault(families.get(name, "other"), []).append(name)
    return {family: tuple(names) for family, names in sorted(grouped.items())}


def _latest_folds(frame: pl.DataFrame, folds: Sequence[Fold]) -> list[Fold]:
    """The latest folds that hold at most `REPORT_RACES` races, at least one."""
    races = frame.group_by("race_key").agg(pl.col("race_date").first())["race_date"]
    kept: list[Fold] = []
    total = 0
    for fold in reversed(folds):
        total += int(races.is_between(fold.cutoff, fold.horizon_end, closed="left").sum())
        if kept and total > REPORT_RACES:
            break
        kept.insert(0, fold)
    return kept


def _calibrations(scored: pl.DataFrame, shipped: str, folds: Sequence[Fold]) -> pl.DataFrame | None:
    """The maps on the last fold; None when there is no fold before it to learn from."""
    name = f"probability_{shipped}"
    rows = scored.select(*KEYS, "win_share", name)
    cutoff = folds[-1].cutoff
    earlier = rows.filter(pl.col("race_date") < cutoff - timedelta(days=1))
    last = rows.filter(pl.col("race_date") >= cutoff)
    if earlier.is_empty() or last.is_empty():
        return None
    try:
        return compare_calibrations(latest_races(earlier, REPORT_RACES), last, name, cutoff)
    except TooFewRacesError:
        return None


def _signals(frame: pl.DataFrame, fold: Fold) -> dict[str, pl.DataFrame]:
    """Coefficients of TIE and NDS in a fold, on its latest races."""
    train = latest_races(sort_runners(train_rows(frame, fold)), REPORT_RACES)
    return {
        "TIE": fit_intent(train, fold.cutoff).common.coefficients(),
        "NDS": fit_disruption(train, fold.cutoff).coefficients(),
    }


def _pictures(
    scored: pl.DataFrame, folds: Sequence[Mapping[str, Any]], shipped: str
) -> tuple[dict[str, bytes], dict[str, str]]:
    """R2 per fold, weights per fold, and the likelihood around the blend's maximum."""
    rows = scored.filter(pl.col("probability_fundamental") > 0).select(
        *KEYS, "win_share", "market_probability", pl.col("probability_fundamental").log().alias("score")
    )
    rows = latest_races(rows, REPORT_RACES)
    after = _last_day(rows) + timedelta(days=2)
    profile = profile_likelihood(rows, fit_blend(rows, after), points=PROFILE_POINTS)
    plain = [dict(fold) for fold in folds]
    figures = {
        "r2": (plots.r2_per_fold(plain, shipped), "R2 per fold against the market"),
        "alpha_beta": (plots.alpha_beta_per_fold(plain), "Weights of the blend per fold"),
        "profile": (plots.profile_picture(profile), "Log-likelihood around the best weights"),
    }
    png = {name: plots.to_png(figure) for name, (figure, _) in figures.items()}
    return png, {name: plots.to_svg(figure, words) for name, (figure, words) in figures.items()}


def _last_day(rows: pl.DataFrame) -> date:
    day: date = rows["race_date"].max()  # type: ignore[assignment]
    return day


def _headline(pooled: Mapping[str, Any], shipped: str, closing_price: bool) -> str:
    low, high = pooled.get("delta_r2_beta_ci") or (None, None)
    price = "closing price" if closing_price else "market"
    if low is None or high is None:
        return f"The {shipped} can't be compared with the {price} here."
    gain = f"{number(pooled['delta_r2_beta'], 5, signed=True)} R², {number(low, 5, signed=True)} to "
    gain += number(high, 5, signed=True)
    if low > 0:
        return f"The {shipped} knows more than the {price} with its exponent fitted: {gain}."
    verdict = "The shipped recipe knows less than" if high < 0 else "No edge over"
    return f"{verdict} the {price} with its exponent fitted: {gain}."


def _lead(offsets: pl.DataFrame, modules: pl.DataFrame, filters: pl.DataFrame) -> str:
    own = pl.concat([offsets.select("name", "verdict"), _of_kind(modules, "module").select("name", "verdict")])
    adds = own.filter(pl.col("verdict") == "adds")["name"].unique(maintain_order=True).to_list()
    nothing = own.filter(pl.col("verdict") != "adds")["name"].unique(maintain_order=True).to_list()
    clear = filters.filter(pl.col("verdict").str.starts_with("wins"))["filter"].to_list()
    words = f"Modules that add to the market: {', '.join(adds) or 'none'}. "
    words += f"Modules that add nothing: {', '.join(nothing) or 'none'}. "
    return words + f"Filters with a clear effect beside the others: {', '.join(clear) or 'none'}."


def _of_kind(modules: pl.DataFrame, kind: str) -> pl.DataFrame:
    return modules.filter(pl.col("kind") == kind)


Cell = dict[str, str]


def _cell(words: str, kind: str = "") -> Cell:
    return {"words": words, "kind": kind}


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Cell]], about: str = "") -> dict[str, Any]:
    return {"title": title, "about": about, "heads": heads, "rows": rows}


def _section(title: str, about: str, tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "about": about, "tables": tables}


def _gain(row: Mapping[str, Any], name: str, low: str, high: str) -> list[Cell]:
    if row[name] is None:
        return [_cell("–"), _cell("")]
    ends = f"{number(row[low], 5, signed=True)} to {number(row[high], 5, signed=True)}"
    return [_cell(number(row[name], 5, signed=True), tone(row[low], row[high])), _cell(ends, "quiet")]


def _estimate(value: float | None, error: float | None) -> Cell:
    return _cell("–") if value is None else _cell(f"{number(value, 3)} ± {number(error, 3)}")


def _recipe_words(recipe: str) -> str:
    return RECIPE_WORDS.get(recipe, recipe)


def _recipes(recipes: pl.DataFrame, shipped: str) -> dict[str, Any]:
    rows = [
        [
            _cell(
                _recipe_words(row["recipe"]) + (" (shipped)" if row["recipe"] == shipped else ""),
                "text",
            ),
            _cell(number(row["r2"], 5)),
            *_gain(row, "over_market", "over_market_low", "over_market_high"),
            *_gain(row, "over_market_beta", "over_market_beta_low", "over_market_beta_high"),
        ]
        for row in recipes.iter_rows(named=True)
    ]
    heads = ("Recipe", "R²", "over the market", "95% interval", "over market, exponent fitted", "95% interval")
    return _table("All folds", heads, rows)


def _folds(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = ("market", "market_beta", "fundamental", "blend", "experts")
    rows = [
        [
            _cell(str(fold["year"]), "text"),
            _cell(f"{fold['races']:,}"),
            *(_cell(number(fold.get(f"r2_{name}"), 4)) for name in names),
            _estimate(fold.get("alpha"), fold.get("alpha_se")),
            _estimate(fold.get("beta"), fold.get("beta_se")),
            _cell(number(fold.get("calibration_slope"), 3)),
            _cell(f"{percent(fold.get('ece'), 2)} / {percent(fold.get('ece_floor'), 2)}"),
        ]
        for fold in folds
    ]
    heads = (
        "Fold",
        "Races",
        "market",
        "market, exponent fitted",
        *names[2:],
        "α ± SE",
        "β ± SE",
        "Slope",
        "Error / floor",
    )
    return _table("Fold by fold", heads, rows, "α and β are fitted on earlier folds only.")


def _regimes(scored: pl.DataFrame, shipped: str) -> dict[str, Any]:
    frame = latest_races(scored, REPORT_RACES)
    probability = frame[f"probability_{shipped}"].cast(pl.Float64).to_numpy()
    odds = frame["decision_price"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    races = Races.from_frame(frame)
    rows = []
    for low, high in ((1.0, float("inf")), *PRICE_BUCKETS):
        chosen = (odds >= low) & (odds < high)
        if races.win_share[chosen].sum() < 1:
            continue
        try:
            found = calibration_summary(probability, races, chosen=chosen)
        except ArithmeticError:
            continue
        rows.append(
            [
                _cell("all" if high == float("inf") else f"{low:g} to {high:g}", "text"),
                _cell(f"{found['runners']:,.0f}"),
                _estimate(found["slope"], found["slope_se"]),
                _estimate(found["intercept"], found["intercept_se"]),
                _cell(percent(found["calibration_error"], 2)),
                _cell(percent(found["noise_floor"], 2), "quiet"),
                _cell(percent(found["noise_floor_95"], 2), "quiet"),
                _cell(number(found["brier"], 5)),
                _cell(number(found["reliability"], 6)),
                _cell(number(found["resolution"], 6)),
            ]
        )
    heads = (
        "Price",
        "Runners",
        "Slope ± SE",
        "Intercept ± SE",
        "Error",
        "Floor",
        "Floor, 95%",
        "Brier",
        "Reliability",
        "Resolution",
    )
    return _table(f"The {shipped}, by price", heads, rows)


def _maps(calibrations: pl.DataFrame) -> dict[str, Any]:
    rows = [
        [
            _cell(row["method"].replace("_", "-"), "text"),
            _cell(number(row["r2"], 5)),
            _cell(number(row["slope"], 3)),
            _cell(percent(row["calibration_error"], 2)),
            _cell(percent(row["noise_floor"], 2), "quiet"),
        ]
        for row in calibrations.sort("r2", descending=True).iter_rows(named=True)
    ]
    heads = ("Map", "R²", "Slope", "Error", "Floor")
    about = "Power and piecewise maps keep each race's sum at 1; isotonic and Venn-Abers are divided by the race's sum."
    return _table("Calibration maps on the last fold", heads, rows, about)


def _offsets(offsets: pl.DataFrame, rows: pl.DataFrame) -> dict[str, Any]:
    lines = [
        [
            _cell(f"{row['name']}: {MODULE_WORDS.get(row['name'], '')}", "text"),
            *_gain(row, "delta_r2", "low", "high"),
            _estimate(row["coefficient"], row["standard_error"]),
            _cell(f"{row['races']:,}"),
            _cell(row["verdict"], "text"),
        ]
        for row in offsets.iter_rows(named=True)
    ]
    about = "Their log-odds as they stand, beside the market with its exponent fitted."
    if "expert_probability" in rows.columns:
        about += f" DLV's own check: {_long_odds_words(long_odds_check(rows))}"
    heads = ("Module", "Gain in R²", "95% interval", "Coefficient ± SE", "Races", "Verdict")
    return _table("Modules that speak in log-odds", heads, lines, about)


def _long_odds_words(check: Mapping[str, float]) -> str:
    if not check["runners"]:
        return "the experts put no runner at 15 to 40 above the market."
    return (
        f"{check['runners']:,.0f} runners at 15 to 40 that the experts put above the market won {check['wins']:,.0f} "
        f"races, A/E {number(check['actual_over_expected'], 3)} ± {number(check['standard_error'], 3)}."
    )


def _modules(modules: pl.DataFrame, title: str) -> dict[str, Any]:
    rows = [
        [
            _cell(row["name"] + (f": {MODULE_WORDS[row['name']]}" if row["name"] in MODULE_WORDS else ""), "text"),
            _cell(f"{row['features']}"),
            *_gain(row, "delta_r2", "low", "high"),
            _estimate(row["coefficient"], row["standard_error"]),
            _cell(f"{row['races']:,}"),
            _cell(row["verdict"], "text"),
        ]
        for row in modules.iter_rows(named=True)
    ]
    heads = ("Name", "Features", "Gain in R²", "95% interval", "Coefficient ± SE", "Races", "Verdict")
    return _table(title, heads, rows)


def _filters(filters: pl.DataFrame) -> dict[str, Any]:
    rows = [
        [
            _cell(f"{row['filter']}: {row['description']}", "text"),
            _cell(f"{row['runners']:,}"),
            _cell(number(row["wins"], 0)),
            _cell(number(row["actual_over_expected"], 3)),
            _estimate(row["coefficient"], row["standard_error"]),
            _cell(number(row["z"], 2, signed=True)),
            _cell(row["verdict"], "text"),
        ]
        for row in filters.iter_rows(named=True)
    ]
    return _table("Marginal effects", ("Filter", "Runners", "Wins", "A/E", "Coefficient ± SE", "z", "Verdict"), rows)


def _coefficients(name: str, table: pl.DataFrame) -> dict[str, Any]:
    rows = [
        [
            _cell(row["signal"].replace("_", " "), "text"),
            _estimate(row["coefficient"], row["standard_error"]),
            _cell(number(row["z"], 2, signed=True)),
            _cell(row["reading"], "text"),
        ]
        for row in table.iter_rows(named=True)
    ]
    return _table(f"{name}: {MODULE_WORDS[name]}", ("Signal", "Coefficient ± SE", "z", "Reading"), rows)


def _long(recipes: pl.DataFrame, offsets: pl.DataFrame, modules: pl.DataFrame, filters: pl.DataFrame) -> pl.DataFrame:
    """All reports as one table."""
    renamed = recipes.select(
        pl.lit("recipe").alias("report"),
        pl.col("recipe").alias("name"),
        pl.col("over_market_beta").alias("delta_r2"),
        pl.col("over_market_beta_low").alias("low"),
        pl.col("over_market_beta_high").alias("high"),
        "races",
    )
    columns = ("name", "delta_r2", "low", "high", "coefficient", "standard_error", "races", "verdict")
    parts = [
        renamed,
        offsets.select(pl.lit("module over the market").alias("report"), *columns),
        modules.select((pl.col("kind") + " left out").alias("report"), *columns),
        filters.select(
            pl.lit("filter").alias("report"),
            pl.col("filter").alias("name"),
            "coefficient",
            "standard_error",
            "verdict",
        ),
    ]
    return pl.concat(parts, how="diagonal_relaxed").select("report", *columns)
