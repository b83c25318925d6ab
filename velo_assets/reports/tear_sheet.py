"""The tear sheet: one page that says whether a backtest made money, how sure that is, and what luck would have made.

Belongs here: choosing and wording what the page shows. Numbers come from `betting.metrics` and `reports.accuracy`,
pictures from `reports.plots`, the look from `templates/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from velo_assets.betting.ledger import totals
from velo_assets.betting.metrics import READ_BY_BREAKDOWNS, breakdowns, counted, equity, null_band, null_return
from velo_assets.betting.predictions import CLOSING_PRICE_KINDS, NAME_COLUMNS, SCORED_COLUMNS
from velo_assets.modelling.calibration import reliability_table, split_by_market
from velo_assets.reports import plots
from velo_assets.reports.accuracy import comparable
from velo_assets.reports.pages import banners, interval, number, percent, render_page, tone

EXTREME_RACES = 8
"""Races listed on each side; each has its own table of runners on the page."""

LARGEST_GROUPS = 10
"""Rows of a breakdown on the page; the rest is in the tables."""

RELIABILITY_BINS = 15
SPLIT_BINS = 8
"""Equal-count bins of the calibration pictures; more would show noise."""

READ_OF_BETS = (*READ_BY_BREAKDOWNS, "runner_key", "price_kind", "edge", "requested_stake", "reason")
"""Columns of the ledger that the page reads."""

READ_OF_RUNNERS = (
    *SCORED_COLUMNS,
    *NAME_COLUMNS,
    "race_label",
    "code",
    "race_class",
    "weighed_in_position",
)
"""Columns of the wide frame of predictions that the page reads."""

LEVEL_BASELINE = "market_all"
PRICE_BASELINE = "market_to_price"
"""Strategies that back every runner: with one unit, and with stakes in proportion to 1/odds."""

LEAST_DRAWN = 20
"""Bets below which a price band is not drawn: its interval would squeeze the others. The table beside has it."""

BREAKDOWN_TITLES = (
    ("year", "By year"),
    ("price_band", "By price"),
    ("code", "By code"),
    ("race_class", "By class"),
    ("course", "By course"),
    ("month", "By month of the year"),
)

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


@dataclass(frozen=True, eq=False)
class TearSheet:
    """The page and its pictures.

    Attributes:
        html: the self-contained page.
        pictures: PNG bytes by name, for the UI's metadata: equity, roi_by_price, reliability, split, r2, alpha_beta,
            monthly.
        headline: the finding in one sentence.
    """

    html: str
    pictures: dict[str, bytes]
    headline: str


def build_tear_sheet(
    predictions: pl.DataFrame,
    bets: pl.DataFrame,
    table: pl.DataFrame,
    folds: Sequence[Mapping[str, Any]],
    pooled: Mapping[str, Any],
    *,
    settings: Mapping[str, Any],
    simulated: bool,
    strategy_id: str = "blend_top20",
    shipped: str = "blend",
    acceptance: Sequence[Mapping[str, Any]] = (),
    gate: Mapping[str, Any] | None = None,
    error_map: str | None = None,
) -> TearSheet:
    """Build the page of a backtest.

    Args:
        predictions: wide frame of `betting.predictions.wide_predictions`.
        bets: ledger of `betting.ledger.place_bets`.
        table: `betting.metrics.strategy_table` of these bets.
        folds: per fold, from `reports.accuracy.fold_metrics`.
        pooled: the same over all folds.
        settings: what produced the run, printed as it is.
        simulated: whether the races come from the simulator.
        strategy_id: strategy shown in detail; when it placed no bet, the one that placed most.
        shipped: recipe whose probabilities are shown.
        acceptance: rows `criterion, target, value, met` of the scoreboard.
        gate: `passed, reasons` of the scoreboard, over the market.
        error_map: address of the page of the modules, relative to this one; None when there is none.

    Returns:
        Page, PNG pictures, headline.

    Raises:
        ValueError: no strategy placed a bet that counts.
    """
    row = shown_strategy(table, strategy_id)
    own = bets.filter(pl.col("strategy_id") == row["strategy_id"])
    trials = int(row["trials"])
    parts = breakdowns(own, [*(by for by, _ in BREAKDOWN_TITLES), "year_month"], trials=trials)
    svg, png = _pictures(own, predictions, shipped, parts, folds, trials)
    closing = bool(set(own.get_column("price_kind").unique().to_list()) & set(CLOSING_PRICE_KINDS))
    without_skill = null_return(counted(own))
    first, last = predictions.get_column("race_date").min(), predictions.get_column("race_date").max()
    races_in_all = predictions.get_column("race_key").n_unique()
    headline = _headline(row, pooled, shipped, closing)
    extremes, races = _extremes(own, predictions, shipped)
    html = render_page(
        "tear_sheet.html.j2",
        banners=banners(simulated=simulated, closing_price=closing),
        facts=" · ".join(
            (f"{_day(first)} to {_day(last)}", f"{races_in_all:,} races", f"{predictions.height:,} runners")
        ),
        footer="Made by VELO. Returns are out of sample: each year is scored by models fitted on earlier years only. "
        "Intervals are by race day, corrected for skewness. Past races are no promise.",
        title=row["name"],
        headline=headline,
        lead=_lead(row, pooled, None if without_skill is None else without_skill.mean, shipped),
        tiles=_tiles(row, pooled),
        strategy_about=_strategy_about(row),
        trials=f"{trials:,}",
        pictures=svg,
        calibration_note=_calibration_note(pooled),
        take_out=_take_out(bets, table),
        strategies=_strategy_rows(table, str(row["strategy_id"])),
        breakdowns=[_breakdown_rows(parts[by], title, by) for by, title in BREAKDOWN_TITLES],
        extremes=extremes,
        races=races,
        acceptance=[_acceptance_row(item) for item in acceptance],
        gate=None if gate is None else _gate(gate),
        error_map=error_map,
        settings=[(name, str(value)) for name, value in settings.items()],
        orders=_uncounted(bets, table),
    )
    return TearSheet(html, png, headline)


def shown_strategy(table: pl.DataFrame, strategy_id: str) -> dict[str, Any]:
    """Row of the strategy shown in detail: the one asked for, or the one that placed most bets if that placed none.

    Raises:
        ValueError: no strategy placed a bet that counts.
    """
    able = table.filter(pl.col("bets") > 0)
    if able.is_empty():
        raise ValueError("tear sheet: no strategy placed a bet that counts; look at the reasons in backtest.bets")
    wanted = able.filter(pl.col("strategy_id") == strategy_id)
    return (wanted if wanted.height else able.sort("bets", descending=True)).row(0, named=True)


def _pictures(
    own: pl.DataFrame,
    predictions: pl.DataFrame,
    shipped: str,
    parts: Mapping[str, pl.DataFrame],
    folds: Sequence[Mapping[str, Any]],
    trials: int,
) -> tuple[dict[str, str], dict[str, bytes]]:
    """All pictures as inline SVG and as PNG."""
    path, null = equity(own), null_band(own, trials)
    scored = comparable(predictions.select(pl.selectors.by_name(*SCORED_COLUMNS, require_all=False)), shipped)
    won = scored.get_column("win_share").to_numpy()
    model = scored.get_column(f"probability_{shipped}").cast(pl.Float64).to_numpy()
    market = scored.get_column("market_probability").cast(pl.Float64).to_numpy()
    rows = [dict(fold) for fold in folds]
    figures = {
        "equity": (plots.equity_curve(path, null, trials), "Cumulated profit with its band and the best-of-K null"),
        "equity_phone": (plots.equity_curve(path, null, trials, plots.TALL), "Cumulated profit with its band"),
        "roi_by_price": (
            plots.roi_by_group(parts["price_band"].filter(pl.col("bets") >= LEAST_DRAWN)),
            "Return on stakes by price, with intervals",
        ),
        "reliability": (
            plots.reliability_diagram(
                [
                    (shipped, plots.GREEN, reliability_table(model, won, RELIABILITY_BINS)),
                    ("market", plots.BLUE, reliability_table(market, won, RELIABILITY_BINS)),
                ]
            ),
            "Predicted against actual win rate",
        ),
        "split": (
            plots.split_calibration(split_by_market(model, market, won, SPLIT_BINS)),
            "Calibration split by the market",
        ),
        "r2": (plots.r2_per_fold(rows, shipped), "R2 per fold against the market"),
        "alpha_beta": (plots.alpha_beta_per_fold(rows), "Weights of the blend per fold"),
        "monthly": (plots.monthly_heat_map(parts["year_month"]), "Profit per month"),
    }
    svg = {name: plots.to_svg(figure, words) for name, (figure, words) in figures.items()}
    png = {name: plots.to_png(figure) for name, (figure, _) in figures.items() if name != "equity_phone"}
    return svg, png


def _headline(row: Mapping[str, Any], pooled: Mapping[str, Any], shipped: str, closing: bool) -> str:
    """The finding in one sentence; knowing more than the market means more than with its exponent fitted, as for the
    gate: to mend how a price is de-vigged is not to know horses."""
    gain = pooled.get("delta_r2_beta_ci") or (None, None)
    price = "the closing price" if closing else "the market"
    roi, low, high = row["roi"], row["roi_low"], row["roi_high"]
    money = f"{row['name']}: {'a profit' if roi >= 0 else 'a loss'} of {number(abs(100 * roi), 1)}p in the pound"
    if low is not None and low > 0:
        judged = {True: "more than luck explains", False: "no more than the luckiest of many tries"}
        return f"{money}, {judged.get(row['beats_best_of_k'], 'and how much of it luck would make is not known')}."
    if gain[0] is None:
        return f"{money}."
    if gain[0] > 0:
        result = "loses" if high is not None and high < 0 else "can’t be told from break-even"
        return f"The {shipped} knows slightly more than {price}, and still {result}. {money}."
    return f"No edge over {price}. {money}."


def _lead(row: Mapping[str, Any], pooled: Mapping[str, Any], without_skill: float | None, shipped: str) -> str:
    """The finding in a paragraph."""
    placed = f"{row['bets']:,} bets on {row['race_days']:,} days at an average price of {number(row['mean_odds'], 1)}"
    words = [f"{placed}, {number(row['wins'], 0)} winners."]
    if row["roi_low"] is not None:
        ends = interval(row["roi_low"], row["roi_high"])
        words.append(f"The return is {percent(row['roi'], signed=True)} (95% interval {ends}).")
    if without_skill is not None:
        words.append(
            "The same bets by someone who knows no more than the market would be expected to return "
            f"{percent(without_skill, signed=True)}."
        )
    if pooled.get("delta_r2_beta") is not None:
        low, high = pooled["delta_r2_beta_ci"]
        verdict = (
            "an improvement"
            if low is not None and low > 0
            else "worse"
            if high is not None and high < 0
            else "no clear difference"
        )
        words.append(
            f"Judged as forecasts, the chances of the {shipped} score R² {number(pooled[f'r2_{shipped}'], 4)} against "
            f"the market's {number(pooled['r2_market'], 4)}, and {number(pooled['r2_market_beta'], 4)} with its "
            f"exponent fitted: over that, {verdict} ({number(pooled['delta_r2_beta'], 4, signed=True)}, "
            f"{number(low, 4, signed=True)} to {number(high, 4, signed=True)})."
        )
    return " ".join(words)


def _tiles(row: Mapping[str, Any], pooled: Mapping[str, Any]) -> list[dict[str, str]]:
    """Key figures."""
    gain = pooled.get("delta_r2_beta_ci") or (None, None)
    gain_note = f"{number(gain[0], 4, signed=True)} to {number(gain[1], 4, signed=True)}" if gain[0] is not None else ""
    ratio_tone = tone(
        None if row["a_over_e_low"] is None else row["a_over_e_low"] - 1,
        None if row["a_over_e_high"] is None else row["a_over_e_high"] - 1,
    )
    ratio_note = (
        f"{number(row['a_over_e_low'])} to {number(row['a_over_e_high'])}" if row["a_over_e_low"] is not None else ""
    )
    return [
        {
            "label": "Return on stakes",
            "value": percent(row["roi"], signed=True),
            "note": interval(row["roi_low"], row["roi_high"]),
            "tone": tone(row["roi_low"], row["roi_high"]),
        },
        {
            "label": "R² over the fitted market",
            "value": number(pooled.get("delta_r2_beta"), 4, signed=True),
            "note": gain_note,
            "tone": tone(gain[0], gain[1]),
        },
        {"label": "Winners / expected", "value": number(row["a_over_e"]), "note": ratio_note, "tone": ratio_tone},
        {
            "label": "Bets won",
            "value": percent(row["win_rate"]),
            "note": f"of {row['bets']:,} bets",
            "tone": "",
        },
        {
            "label": "Deepest drawdown",
            "value": number(row["max_drawdown"], 0),
            "note": f"units; {percent(row['max_drawdown_share'])} of turnover",
            "tone": "",
        },
        {
            "label": "Longest losing run",
            "value": f"{row['longest_losing_run']:,}",
            "note": f"bets; Sharpe {number(row['sharpe'])}",
            "tone": "",
        },
    ]


def _strategy_about(row: Mapping[str, Any]) -> str:
    """What the detailed section is about."""
    left_out = row["void"] + row["unmatched"]
    return (
        f"{row['orders']:,} orders: {row['bets']:,} settled, {row['void']:,} void, {row['unmatched']:,} not matched. "
        f"Turnover {number(row['turnover'], 0)} units, profit {number(row['profit'], 1, signed=True)}."
        + (" Orders that do not count are listed at the foot, with the reason." if left_out else "")
    )


def _calibration_note(pooled: Mapping[str, Any]) -> str:
    """Calibration error beside its floor."""
    if pooled.get("ece") is None:
        return ""
    return f"Error {percent(pooled['ece'], 2)}; perfect chances would show {percent(pooled['ece_floor'], 2)}."


def _strategy_rows(table: pl.DataFrame, chosen: str) -> list[dict[str, Any]]:
    """Rows of the strategy table."""
    span = _span(table)
    rows = []
    for row in table.iter_rows(named=True):
        nothing = row["bets"] == 0
        rows.append(
            {
                "chosen": row["strategy_id"] == chosen,
                "name": row["name"],
                "bets": f"{row['bets']:,}",
                "win_rate": percent(row["win_rate"]),
                "roi": percent(row["roi"], signed=True),
                "tone": tone(row["roi_low"], row["roi_high"]),
                "mark": None if nothing or row["roi_low"] is None else _mark(row, span),
                "net": "–" if nothing else _net(row),
                "a_over_e": number(row["a_over_e"]),
                "closing_line_value": percent(row["closing_line_value"], signed=True),
                "sharpe": number(row["sharpe"]),
                "max_drawdown": number(row["max_drawdown"], 0),
                "longest_losing_run": "–" if nothing else f"{row['longest_losing_run']:,}",
            }
        )
    return rows


def _take_out(bets: pl.DataFrame, table: pl.DataFrame) -> str:
    """What the market takes, and how much of the level-stakes loss is the longshot bias; empty without both
    baselines."""
    rows = {row["strategy_id"]: row for row in table.iter_rows(named=True)}
    level, to_price = rows.get(LEVEL_BASELINE), rows.get(PRICE_BASELINE)
    if not level or not to_price or level["roi"] is None or to_price["roi"] is None:
        return ""
    own = counted(bets.filter(pl.col("strategy_id") == PRICE_BASELINE)).select(
        (pl.col("stake") * pl.col("decision_price")).mean().alias("unit"),
        pl.col("stake").sum().alias("staked"),
        pl.col("race_key").n_unique().alias("races"),
    )
    unit, staked, races = own.row(0)
    book = staked / unit / races
    bias = level["roi"] - to_price["roi"]
    kind = "what the longshot bias costs" if bias < 0 else "a longshot bias the other way round"
    return (
        "Backing every runner in proportion to its chance by the price returns "
        f"{percent(to_price['roi'], signed=True)}: the take-out, as the prices of a race add up to {percent(book)} on "
        f"average (1/{number(book, 3)} − 1 = {percent(1 / book - 1, signed=True)}). One unit on every runner returns "
        f"{percent(level['roi'], signed=True)}: it puts more on outsiders, and the {number(abs(100 * bias), 1)} points "
        f"between the two are {kind}."
    )


def _net(row: Mapping[str, Any]) -> str:
    """Return after commission."""
    return " / ".join(percent(row[f"roi_commission_{rate}"], signed=True) for rate in (2, 5))


def _span(table: pl.DataFrame) -> tuple[float, float]:
    """Ends of the line on which the intervals are drawn: nearly all of them, and always 0."""
    # A bet or two has no interval to draw, and a luck of thousands of per cent that would squeeze all others.
    drawn = table.filter(pl.col("roi_low").is_not_null())

    def quantile(name: str, level: float) -> float:
        value = drawn.get_column(name).quantile(level)
        return 0.0 if value is None else float(value)

    low = min(quantile("roi_low", 0.08), -0.02)
    high = max(quantile("roi_high", 0.92), quantile("best_of_k_95", 0.92), 0.02)
    room = 0.06 * (high - low)
    return low - room, high + room


def _mark(row: Mapping[str, Any], span: tuple[float, float]) -> dict[str, Any]:
    """Places of an interval on a line, in percent of its width; what lies beyond its ends is drawn at the end."""

    def place(value: float) -> float:
        return round(min(max(100.0 * (value - span[0]) / (span[1] - span[0]), 0.0), 100.0), 2)

    left = place(row["roi_low"])
    luck = row["best_of_k_95"]
    words = f"{interval(row['roi_low'], row['roi_high'])}"
    if luck is not None:
        words += f"; best of {row['trials']:,} without skill: {percent(luck, signed=True)}"
    return {
        "zero": place(0.0),
        "left": left,
        "width": round(place(row["roi_high"]) - left, 2),
        "dot": place(row["roi"]),
        "luck": None if luck is None else place(luck),
        "tone": tone(row["roi_low"], row["roi_high"]) or "quiet",
        "words": words,
    }


def _breakdown_rows(part: pl.DataFrame, title: str, by: str) -> dict[str, Any]:
    """One breakdown as a small table; the largest groups when there are many."""
    kept = part
    if part.height > LARGEST_GROUPS and by == "course":
        kept = part.sort("bets", descending=True).head(LARGEST_GROUPS)
    rows = [
        {
            "group": _group_words(str(row["group"]), by),
            "bets": f"{row['bets']:,}",
            "roi": percent(row["roi"], signed=True),
            "tone": tone(row["roi_low"], row["roi_high"]),
            "interval": interval(row["roi_low"], row["roi_high"]),
            "a_over_e": number(row["a_over_e"]),
            "luck": percent(row["best_of_k_95"], signed=True),
        }
        for row in kept.iter_rows(named=True)
    ]
    return {"title": title, "rows": rows, "more": part.height - kept.height}


def _group_words(group: str, by: str) -> str:
    """Readable name of a group."""
    if by == "month":
        return MONTHS[int(group) - 1]
    if by == "price_band":
        return group.split(": ", 1)[-1]
    return f"Class {group}" if by == "race_class" and group.isdigit() else group


def _extremes(
    own: pl.DataFrame, predictions: pl.DataFrame, shipped: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The races that moved the result most, and a table of runners for each."""
    by_race = (
        counted(own)
        .join(_named(predictions), on="runner_key", how="left")
        .group_by("race_key", "race_date")
        .agg(
            pl.col("profit").sum(),
            pl.col("horse").sort_by("profit", descending=True).alias("horses"),
            pl.col("matched_price").sort_by("profit", descending=True).first().alias("best_price"),
            pl.col("matched_price").min().alias("low_price"),
            pl.col("matched_price").max().alias("high_price"),
        )
        .sort("profit", "race_date", "race_key", descending=[True, False, False])
    )
    winners = by_race.filter(pl.col("profit") > 0).head(EXTREME_RACES)
    losers = by_race.filter(pl.col("profit") < 0).tail(EXTREME_RACES).reverse()
    races = {}
    for race in pl.concat([winners, losers]).iter_rows(named=True):
        races[race["race_key"]] = _race_page(race, predictions, own, shipped)
    sides = []
    for title, part in (("Winners", winners), ("Losers", losers)):
        rows = [
            {
                "anchor": races[race["race_key"]]["anchor"],
                "race": races[race["race_key"]]["label"],
                "horses": _some([name or "?" for name in race["horses"]]),
                "price": _prices(race),
                "profit": number(race["profit"], 1, signed=True),
                "tone": "good" if race["profit"] > 0 else "bad",
            }
            for race in part.iter_rows(named=True)
        ]
        sides.append({"title": title, "rows": rows})
    return sides, list(races.values())


def _race_page(race: Mapping[str, Any], predictions: pl.DataFrame, own: pl.DataFrame, shipped: str) -> dict[str, Any]:
    """Runners of one race as the page shows them."""
    key = race["race_key"]
    backed = own.filter(pl.col("race_key") == key).select("runner_key", "stake", "profit", "edge")
    runners = (
        predictions.filter(pl.col("race_key") == key)
        .join(backed, on="runner_key", how="left")
        .sort("weighed_in_position", "decision_price", nulls_last=True)
    )
    head = runners.row(0, named=True)
    label = head.get("race_label") or f"{race['race_date']}, race {key}"
    facts = [
        head.get("code"),
        None if head.get("race_class") is None else f"class {head['race_class']}",
        f"{runners.height} runners",
        f"profit {number(race['profit'], 1, signed=True)}",
    ]
    rows = []
    for runner in runners.iter_rows(named=True):
        is_backed = runner["stake"] is not None
        rows.append(
            {
                "position": "–" if runner["weighed_in_position"] is None else str(runner["weighed_in_position"]),
                "horse": runner.get("horse") or "?",
                "jockey": runner.get("jockey") or "",
                "trainer": runner.get("trainer") or "",
                "price": number(runner["decision_price"], 1),
                "market": percent(runner["market_probability"]),
                "model": percent(runner[f"probability_{shipped}"]),
                "edge": percent(runner["edge"], signed=True) if is_backed else "",
                "stake": number(runner["stake"], 2) if is_backed else "",
                "profit": number(runner["profit"], 1, signed=True) if is_backed else "",
                "tone": "" if not is_backed else "good" if runner["profit"] > 0 else "bad",
                "backed": is_backed,
            }
        )
    return {
        "anchor": f"race-{key}",
        "label": label,
        "title": f"{label} ({number(race['profit'], 1, signed=True)})",
        "about": " · ".join(fact for fact in facts if fact) + ". Backed runners are shaded.",
        "runners": rows,
    }


def _prices(race: Mapping[str, Any]) -> str:
    """Price of the bet that made a race's profit; of a lost race, the span of the prices backed."""
    if race["profit"] > 0:
        return number(race["best_price"], 1)
    ends = [number(race[name], 1) for name in ("low_price", "high_price")]
    return "–".join(dict.fromkeys(ends))


def _named(predictions: pl.DataFrame) -> pl.DataFrame:
    """Horse names by runner; the key where there is no name."""
    name = pl.col("horse") if "horse" in predictions.columns else pl.col("runner_key").cast(pl.String)
    return predictions.select("runner_key", name.alias("horse"))


def _some(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _acceptance_row(item: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the acceptance table, its value in words."""
    value = item.get("value")
    if value is not None and "%" in str(item["target"]):
        words = percent(value)
    else:
        words = number(value, 0 if value is not None and abs(value) >= 100 else 3)
    return {"criterion": item["criterion"], "target": item["target"], "value": words, "met": item["met"]}


def _gate(gate: Mapping[str, Any]) -> dict[str, Any]:
    """The gate's verdict over the market, whoever is champion: that comparison is made where a version is trained."""
    verdict = "would let it through" if gate["passed"] else "refuses it: a result, not a fault"
    words = (
        f"Over the market with its exponent fitted the gate {verdict}. It judges each year by the recipe that the "
        "years before it chose. A trained version has to beat the champion, once there is one."
    )
    return {"passed": gate["passed"], "reasons": list(gate["reasons"]), "words": words}


def _uncounted(bets: pl.DataFrame, table: pl.DataFrame) -> list[dict[str, str]]:
    """Void and unmatched orders by strategy and reason."""
    names = dict(zip(table["strategy_id"], table["name"], strict=True))
    rows = totals(bets.filter(pl.col("status").is_in(["void", "unmatched"])))
    return [
        {
            "strategy": names.get(row["strategy_id"], row["strategy_id"]),
            "status": row["status"],
            "reason": row["reason"] or "",
            "orders": f"{row['orders']:,}",
        }
        for row in rows.iter_rows(named=True)
    ]


def _day(value: object) -> str:
    """A date in words."""
    return f"{value.day} {MONTHS[value.month - 1]} {value.year}" if isinstance(value, date) else "?"
