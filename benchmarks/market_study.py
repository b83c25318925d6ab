"""What the market is worth: de-vig methods, calibration of Betfair SP, exponents of the place model, on real files.

python -m benchmarks.market_study --real /path/to/real --out docs/market_study.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from velo_assets.ingestion.betfair_sp import load_bsp_market, read_betfair_sp
from velo_assets.modelling.blend import fit_market_beta
from velo_assets.modelling.bootstrap import day_sums, ratio_interval
from velo_assets.modelling.market import (
    FALLBACK_METHOD,
    MIN_CHOICE_RACES,
    choose_methods,
    compare_methods,
    method_losses,
    probabilities,
)
from velo_assets.modelling.place import (
    BENTER,
    UK_IRE_REFERENCE,
    PlaceModel,
    fit_from_placed,
    fit_from_positions,
)
from velo_assets.modelling.races import KEYS, FloatArray, Races, race_sum
from velo_assets.settings import PRICE_BUCKETS

CALIBRATION_BINS = 20
NOISE_DRAWS = 200
HARVILLE = PlaceModel(1.0, 1.0)


def betfair_sp(folder: Path) -> pl.DataFrame:
    """Betfair SP 2025 as prices with results: KEYS, price_kind, decimal_odds, win_share, placed, place_bsp."""
    paths = sorted(folder.glob("betfair_bsp_uk_ie_2025-*.csv.gz"))
    placed = pl.concat(
        read_betfair_sp(path).rows.sort("date_corrected").select("market_id", "selection_id", "placed", "place_bsp")
        for path in paths
    ).unique(["market_id", "selection_id"], keep="first", maintain_order=True)
    return (
        load_bsp_market(paths)
        .join(placed, left_on=["race_id", "selection_id"], right_on=["market_id", "selection_id"], how="left")
        .select(
            "race_date",
            race_key=pl.col("race_id"),
            runner_key=pl.struct("race_id", "selection_id").rank("dense").cast(pl.Int64),
            price_kind=pl.lit("bsp"),
            decimal_odds=pl.col("bsp"),
            win_share=pl.col("win_share"),
            placed=pl.col("placed"),
            place_bsp=pl.col("place_bsp"),
        )
    )


def hong_kong(folder: Path) -> pl.DataFrame:
    """Hong Kong 2016-2023 as prices with results: KEYS, price_kind, decimal_odds, win_share, position."""
    raw = pl.read_csv(folder / "raceform_hk_2016_2023.csv.gz", infer_schema=False)
    fraction = pl.col("sp").str.extract_groups(r"^(\d+)/(\d+)")
    race = ("date", "course", "off")
    return (
        raw.select(
            *race,
            race_date=pl.col("date").str.to_date(),
            race_key=pl.struct(race).rank("dense").cast(pl.Int64),
            runner_key=pl.int_range(pl.len()),
            price_kind=pl.lit("sp (tote)"),
            decimal_odds=1.0
            + fraction.struct[0].cast(pl.Float64, strict=False) / fraction.struct[1].cast(pl.Float64, strict=False),
            position=pl.col("pos").cast(pl.Float64, strict=False),
        )
        .with_columns(won=(pl.col("position") == 1).fill_null(False))
        .with_columns(win_share=pl.col("won") / pl.col("won").sum().over("race_key"))
        .drop(*race, "won")
    )


def priced(frame: pl.DataFrame) -> pl.DataFrame:
    """De-vigged prices beside the results."""
    extra = [name for name in frame.columns if name not in (*KEYS, "price_kind", "decimal_odds")]
    return probabilities(frame).join(frame.select("runner_key", *extra), on="runner_key", how="left")


def settled(table: pl.DataFrame) -> tuple[pl.DataFrame, Races]:
    """Runners of full books with a full result, and their races."""
    whole = (pl.col("win_share").sum().over("race_key") - 1.0).abs() < 1e-9
    kept = table.filter(pl.col("book_complete") & whole & (pl.len().over("race_key") > 1)).sort(KEYS)
    return kept, Races.from_frame(kept)


def calibration_error(probability: FloatArray, won: FloatArray) -> float:
    """ECE over bins of equal count."""
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, CALIBRATION_BINS)
    gaps = [abs(won[rows].mean() - probability[rows].mean()) * len(rows) for rows in bins]
    return float(sum(gaps) / len(probability))


def noise_floor(probability: FloatArray, races: Races, seed: int = 0) -> float:
    """Mean ECE of a perfectly calibrated market: one winner drawn per race from its own probabilities."""
    generator = np.random.default_rng(seed)
    errors = []
    for _ in range(NOISE_DRAWS):
        luck = np.log(probability) + generator.gumbel(size=len(probability))
        winner = luck == np.repeat(np.maximum.reduceat(luck, races.race_starts), races.field_size)
        errors.append(calibration_error(probability, winner.astype(np.float64)))
    return float(np.mean(errors))


def market_lines(name: str, table: pl.DataFrame) -> list[str]:
    """De-vig table and calibration of one market."""
    comparison = compare_methods(table)
    first = comparison.row(0, named=True)
    lines = [
        f"## {name}",
        "",
        f"{first['races']:,} settled races with full books, mean book {first['mean_book']:.3f}.",
        "",
        "| method | R2 | 95% interval | dR2 to multiplicative | 95% interval |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['method']} | {row['r2']:.5f} | {row['r2_low']:.4f} to {row['r2_high']:.4f} | "
        f"{row['delta_r2']:+.5f} | {row['delta_low']:+.5f} to {row['delta_high']:+.5f} |"
        for row in comparison.iter_rows(named=True)
    ]
    lines += _choice(table)
    kept, races = settled(table)
    lines += [
        "",
        "| probabilities | slope within races (SE) | ECE, 20 equal bins | its noise floor |",
        "|---|---|---|---|",
    ]
    for method in ("multiplicative", "power"):
        chance = kept[f"p_{method}"].to_numpy()
        beta = fit_market_beta(kept.with_columns(market_probability=pl.col(f"p_{method}")))
        lines.append(
            f"| {method} | {beta.coefficients[0]:.4f} ({beta.standard_errors[0]:.4f}) | "
            f"{calibration_error(chance, races.win_share):.3%} | {noise_floor(chance, races):.3%} |"
        )
    lines += ["", "| decimal odds | runners | wins | A/E, power | 95% interval |", "|---|---|---|---|---|"]
    odds, days = kept["decimal_odds"].to_numpy(), np.repeat(races.race_date, races.field_size)
    chance = kept["p_power"].to_numpy()
    for low, high in PRICE_BUCKETS:
        rows = (odds >= low) & (odds < high)
        if rows.any():
            sums = day_sums(np.stack([races.win_share[rows], chance[rows]], axis=1), days[rows])
            ratio = ratio_interval(sums[:, 0], sums[:, 1])
            lines.append(
                f"| {low:g}-{high:g} | {rows.sum():,} | {races.win_share[rows].sum():,.0f} | {ratio.estimate:.3f} | "
                f"{ratio.low:.3f} to {ratio.high:.3f} |"
            )
    return [*lines, ""]


def _choice(table: pl.DataFrame) -> list[str]:
    """What each year would be de-vigged by, chosen on the years before it; nothing for a single year."""
    losses = method_losses(table)
    years = losses["race_date"].dt.year().unique().sort().to_list()
    if len(years) < 2:
        return []
    kind = losses["price_kind"][0]
    chosen = choose_methods(losses, years)
    lines = [
        "",
        "The method of each year is the likeliest over all years before it (`market.devig_methods`); with fewer than",
        f"{MIN_CHOICE_RACES:,} settled full books before it, {FALLBACK_METHOD}.",
        "",
        "| year | races | method in use | why | R2 in use | R2 power | R2 multiplicative | R2 of the best |",
        "|---|---:|---|---|---:|---:|---:|---:|",
    ]
    for year in years:
        of_year = losses.filter(pl.col("race_date").dt.year() == year)
        r2 = dict(of_year.select("method", "r2").iter_rows())
        method = chosen.get((year, kind), FALLBACK_METHOD)
        why = "likeliest before" if (year, kind) in chosen else "too few before"
        lines.append(
            f"| {year} | {of_year['races'][0]:,} | {method} | {why} | {r2[method]:.5f} | {r2['power']:.5f} | "
            f"{r2['multiplicative']:.5f} | {max(r2.values()):.5f} |"
        )
    return lines


def exponents_row(name: str, model: PlaceModel) -> str:
    """A row of the table of exponents."""
    if not model.races:
        return f"| {name} | {model.gamma:.3f} | {model.delta:.3f} | published |"
    return (
        f"| {name} | {model.gamma:.3f} ({model.gamma_se:.3f}) | {model.delta:.3f} ({model.delta_se:.3f}) | "
        f"{model.races:,} |"
    )


def place_loss(chance: FloatArray, placed: FloatArray) -> float:
    """Mean log-loss of place probabilities, nats per runner."""
    held = np.clip(chance, 1e-9, 1 - 1e-9)
    return float(-np.where(placed > 0, np.log(held), np.log1p(-held)).mean())


def place_lines(bsp: pl.DataFrame, hong_kong_prices: pl.DataFrame) -> list[str]:
    """Exponents of the place model, and place probabilities out of sample against the place market."""
    kept, races = settled(bsp)
    placed = (kept["placed"] == "won").to_numpy()
    chance = kept["p_power"].to_numpy()
    fitted = fit_from_placed(chance, placed, races)
    hk, hk_races = settled(hong_kong_prices)
    hk_fit = fit_from_positions(hk["p_power"].to_numpy(), hk["position"].fill_null(float("nan")).to_numpy(), hk_races)
    lines = [
        "## Place model: discounted Harville",
        "",
        "| set | gamma (SE) | delta (SE) | races |",
        "|---|---|---|---|",
        exponents_row("UK/IRE, Betfair SP 2025, places paid", fitted),
        exponents_row("UK/IRE reference", UK_IRE_REFERENCE),
        exponents_row("Hong Kong 2016-2023, tote odds, first three in order", hk_fit),
        exponents_row("Benter 1994, Hong Kong", BENTER),
        "",
        "Out of sample on Betfair SP: exponents fitted on January to June, place probabilities of July to December,",
        "races with two or three places and every runner priced in the place market.",
        "",
        "| place probabilities | log-loss per runner | ECE, 20 equal bins |",
        "|---|---|---|",
    ]
    first_half = races.race_date < np.datetime64("2025-07-01")
    early = races.runner_mask(first_half)
    model = fit_from_placed(chance[early], placed[early], races.subset(first_half))
    implied = 1.0 / kept["place_bsp"].fill_null(float("nan")).to_numpy()
    places = race_sum(placed.astype(np.float64), races.race_starts)
    book = race_sum(implied, races.race_starts)
    # A place book must come to the number of places; one that doesn't has paid on other terms.
    usable = ~first_half & ((places == 2) | (places == 3)) & (races.field_size > places) & (np.abs(book - places) < 0.3)
    rows, late, paid = races.runner_mask(usable), races.subset(usable), places[usable].astype(np.int64)
    wins, truth = chance[rows], placed[rows].astype(np.float64)
    table = {
        "plain Harville": HARVILLE.place_probabilities(wins, late.race_starts, paid),
        "UK/IRE reference": UK_IRE_REFERENCE.place_probabilities(wins, late.race_starts, paid),
        f"fitted on the first half ({model.gamma:.3f}, {model.delta:.3f})": model.place_probabilities(
            wins, late.race_starts, paid
        ),
        "place market, BSP scaled to the places": np.minimum(
            implied[rows] * np.repeat(paid / book[usable], late.field_size), 1.0
        ),
    }
    for name, values in table.items():
        lines.append(f"| {name} | {place_loss(values, truth):.5f} | {calibration_error(values, truth):.3%} |")
    return [*lines, "", f"{len(late):,} races, {late.runners:,} runners.", ""]


def report(parts: Iterable[list[str]], command: str) -> str:
    """The study as Markdown."""
    head = [
        "# Market study: what the prices of the real sets are worth",
        "",
        "Written by `benchmarks/market_study.py`; do not edit by hand. Both prices are closing prices.",
        "",
        f"    {command}",
        "",
        "No de-vig method has a fitted parameter, so every likelihood is out of sample. Intervals: race-day bootstrap.",
        "Slope: the exponent `b` of `p^b` that fits the winners best within races; 1 is calibrated, below 1 too bold.",
        "The noise floor is the mean ECE of a market that is calibrated by construction.",
        "",
    ]
    return "\n".join([*head, *(line for part in parts for line in part)])


def main() -> None:
    """Run the study and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True, help="folder of the real files")
    parser.add_argument("--out", type=Path, default=Path("docs/market_study.md"))
    arguments = parser.parse_args()
    bsp, hk = priced(betfair_sp(arguments.real)), priced(hong_kong(arguments.real))
    parts = [
        market_lines("UK and Ireland 2025, Betfair SP", bsp),
        market_lines("Hong Kong 2016-2023, final tote odds", hk),
        place_lines(bsp, hk),
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(report(parts, f"python -m benchmarks.market_study --real REAL --out {arguments.out}"))


if __name__ == "__main__":
    main()
