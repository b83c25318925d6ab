"""The simulated world as a whole: `simulate` writes seasons of raceform files, their truth and the marker.

What the market knows. The utility of a runner has parts a form book can teach and a private part nobody but the
market sees. At edge 0 the market's probability IS the true probability (`true_win_probability`), seen through the SP:
raised to a power (favourite-longshot bias), with the bookmaker's margin, rounded to the price ladder. A market with
beta fitted recovers it up to the rounding, so no model can beat it.

At edge e > 0 the market leaves out the share 0.5 * sqrt(e) of four planted effects: trainer form, draw, layoff, going.
Measured on 18,000 races at e = 1, a reader who knew them exactly gains dR2 .0057 over the beta-fitted market: trainer
form .0021, going .0013, layoff .0012, draw .0010; at other edges it is in proportion (.0034 at .5, .012 at 2). Draw and
layoff can be learned almost whole (.0022 at e = 1); trainer form and going are latent, so a model gets a part of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from velo_assets.ingestion.layouts import RACEFORM_COLUMNS
from velo_assets.settings import FIRST_YEAR
from velo_assets.simulation import names
from velo_assets.simulation.fixtures import build_courses, build_fixtures, year_start
from velo_assets.simulation.marker import (
    UNWRITTEN,
    Marker,
    require_room_for_simulation,
    result_files,
    season_file,
    sha256,
    write_marker,
)
from velo_assets.simulation.population import (
    Floats,
    Horses,
    Ints,
    build_people,
    open_year,
    population_target,
)
from velo_assets.simulation.prices import decimal_ladder, nearest_price
from velo_assets.simulation.raceform import season_frames
from velo_assets.simulation.season import RegimeChange, Season, run_season

MEAN_RUNNERS = 9.0
LARGEST_EDGE = 4.0
"""At edge 4 the market ignores the planted effects altogether."""
SMALLEST_RACES_PER_YEAR = 50


@dataclass(frozen=True)
class SimulationSummary:
    """What a simulation wrote, with the figures it is calibrated to, measured on all its seasons.

    Attributes:
        files: raceform files. truth_files: truth files. marker: the marker file.
        runs, races: rows and races written.
        mean_field: runners per race. favourite_win_rate: wins of the (joint) favourites, a joint favourite counted in
            part.
        market_r2: McFadden R2 of the SP with its margin removed by a power. true_r2: of the true probabilities.
        overround_per_runner: (book - 1) / runners, averaged over races.
        trainer_shared_day_rate, jockey_shared_day_rate: share of runs with another of the same trainer or jockey that
            day.
        non_finisher_rate: share of runs. dead_heat_rate: share of races with more than one winner.
    """

    files: tuple[Path, ...]
    truth_files: tuple[Path, ...]
    marker: Path
    runs: int
    races: int
    mean_field: float
    favourite_win_rate: float
    market_r2: float
    true_r2: float
    overround_per_runner: float
    trainer_shared_day_rate: float
    jockey_shared_day_rate: float
    non_finisher_rate: float
    dead_heat_rate: float


@dataclass(frozen=True)
class SimulatedYear:
    """One season in memory.

    Attributes:
        year: calendar year. results: 37-column text frame. truth: truth frame. season: the numbers behind both.
    """

    year: int
    results: pl.DataFrame
    truth: pl.DataFrame
    season: Season


def simulate_years(
    *,
    first_year: int,
    last_year: int,
    races_per_year: int,
    seed: int,
    edge: float = 0.0,
    regime: RegimeChange | None = None,
    drop_column_from: tuple[str, date] | None = None,
) -> Iterator[SimulatedYear]:
    """Race through the years and yield each season; memory holds one season and the living population.

    Args:
        first_year, last_year: calendar years, both raced.
        races_per_year: races staged each year, at least 50.
        seed: source of all randomness; the same arguments give the same seasons.
        edge: market inefficiency, 0 to 4 (see the module docstring).
        regime: planted breaks.
        drop_column_from: (column, date): the column is blank from that date on.

    Raises:
        ValueError: years out of order or too early, too few races, edge out of range, unknown column.
    """
    if last_year < first_year:
        raise ValueError(f"last_year {last_year} is before first_year {first_year}")
    if first_year < FIRST_YEAR:
        raise ValueError(f"first_year is {first_year}; results before {FIRST_YEAR} are rejected when they land")
    if races_per_year < SMALLEST_RACES_PER_YEAR:
        raise ValueError(f"races_per_year is {races_per_year}; at least {SMALLEST_RACES_PER_YEAR} make a season")
    if not 0.0 <= edge <= LARGEST_EDGE:
        raise ValueError(f"edge is {edge}; it must lie between 0 (efficient market) and {LARGEST_EDGE}")
    if drop_column_from is not None and drop_column_from[0] not in RACEFORM_COLUMNS:
        raise ValueError(
            f"drop_column_from names {drop_column_from[0]!r}, which is no raceform column: "
            f"{', '.join(RACEFORM_COLUMNS)}"
        )
    return _seasons(first_year, last_year, races_per_year, seed, edge, regime or RegimeChange(), drop_column_from)


def _seasons(
    first_year: int,
    last_year: int,
    races_per_year: int,
    seed: int,
    edge: float,
    regime: RegimeChange,
    drop_column_from: tuple[str, date] | None,
) -> Iterator[SimulatedYear]:
    # Streams by purpose and year: a longer simulation has the same first seasons, and text quirks never change a
    # result.
    world_rng = np.random.default_rng([seed, 0])
    courses = build_courses(world_rng)
    meetings = races_per_year / 7.0
    race_days = float(np.clip(meetings / 2.0, 1.0, 363.0))
    people = build_people(
        races_per_year=races_per_year,
        runs_per_race_day=races_per_year * MEAN_RUNNERS / race_days,
        meetings_a_day=meetings / race_days,
        rng=world_rng,
    )
    people.trainer_form_day = year_start(first_year)
    trainer_names = names.people(len(people.trainer_size), offset=11, stride=4057)
    jockey_names = names.people(len(people.jockey_skill), offset=6007, stride=4057)
    owner_names = names.owners(people.owners)
    sires = np.arange(len(people.sire_going))
    sire_suffix = np.array([f" ({c})" for c in names.COUNTRY_SUFFIXES], dtype=object)[
        sires % len(names.COUNTRY_SUFFIXES)
    ]
    sire_names = names.sire_names(sires) + sire_suffix
    target = population_target(races_per_year, MEAN_RUNNERS)
    horses: Horses | None = None
    for year in range(first_year, last_year + 1):
        rng = np.random.default_rng([seed, 1, year])
        horses = open_year(horses, people, year=year, target=target, rng=rng)
        fixtures = build_fixtures(courses, year=year, races=races_per_year, rng=rng)
        season = run_season(horses, people, courses, fixtures, year=year, edge=edge, regime=regime, rng=rng)
        dropped = None
        if drop_column_from is not None:
            dropped = (drop_column_from[0], (drop_column_from[1] - date(1970, 1, 1)).days)
        results, truth = season_frames(
            season,
            horses,
            people,
            courses,
            year=year,
            trainer_names=trainer_names,
            jockey_names=jockey_names,
            owner_names=owner_names,
            sire_names=sire_names,
            drop_column_from=dropped,
            rng=np.random.default_rng([seed, 2, year]),
        )
        yield SimulatedYear(year=year, results=results, truth=truth, season=season)


def simulate(
    *,
    first_year: int,
    last_year: int,
    races_per_year: int,
    seed: int,
    edge: float,
    out: Path,
    flip_longshot_bias_from: date | None = None,
    break_feature_from: date | None = None,
    drop_column_from: tuple[str, date] | None = None,
) -> SimulationSummary:
    """Write simulated seasons under a data root, year by year.

    `<out>/raceform/simulated_YYYY.csv`, `<out>/truth/truth_YYYY.parquet` (never read by the pipeline) and the marker
    `<out>/raceform/SIMULATED.json`. An earlier simulation of the same years is overwritten. Same arguments, same bytes.

    Args:
        first_year, last_year, races_per_year, seed, edge: as in `simulate_years`.
        out: data root; made when missing.
        flip_longshot_bias_from: from this date the favourite-longshot bias is turned round.
        break_feature_from: from this date draw bias is turned round and long layoffs cost nothing.
        drop_column_from: (column, date): the column is blank from that date on.

    Raises:
        MixedDataError: `<out>/raceform` holds a file that no simulation wrote.
        ValueError: an argument is out of range.
    """
    years = simulate_years(
        first_year=first_year,
        last_year=last_year,
        races_per_year=races_per_year,
        seed=seed,
        edge=edge,
        regime=RegimeChange(flip_longshot_bias_from, break_feature_from),
        drop_column_from=drop_column_from,
    )
    raceform_dir, truth_dir = out / "raceform", out / "truth"
    require_room_for_simulation(raceform_dir)
    raceform_dir.mkdir(parents=True, exist_ok=True)
    truth_dir.mkdir(parents=True, exist_ok=True)
    # Only files the marker lists can be here; those of an earlier simulation must not stay beside this one.
    for stale in result_files(raceform_dir):
        stale.unlink()
    for stale in truth_dir.glob("truth_*.parquet"):
        stale.unlink()
    # The whole list first: who finds it later sees whether the simulation was stopped.
    hashes = {season_file(year): UNWRITTEN for year in range(first_year, last_year + 1)}
    marker = write_marker(raceform_dir, Marker(seed=seed, edge=edge, files=hashes))
    files: list[Path] = []
    truth_files: list[Path] = []
    tally = _Tally()
    for simulated in years:
        path = raceform_dir / season_file(simulated.year)
        # Hidden until complete and listed, so that a run that is cut short leaves nothing that looks like real results.
        draft = raceform_dir / f".{path.name}.part"
        # A blank is written bare, as in the export, not as a quoted empty string.
        bare = [pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in RACEFORM_COLUMNS]
        simulated.results.select(bare).write_csv(draft)
        hashes[path.name] = sha256(draft)
        marker = write_marker(raceform_dir, Marker(seed=seed, edge=edge, files=hashes))
        draft.replace(path)
        truth_path = truth_dir / f"truth_{simulated.year}.parquet"
        simulated.truth.write_parquet(truth_path)
        files.append(path)
        truth_files.append(truth_path)
        tally.add(simulated.season)
    return tally.summary(files=tuple(files), truth_files=tuple(truth_files), marker=marker)


def shared_day_rows(person: Ints, day: Ints) -> int:
    """How many rows share (person, day) with another row."""
    _, counts = np.unique(person.astype(np.int64) * 100_000 + day, return_counts=True)
    return int(counts[counts > 1].sum())


def power_devig(implied: Floats, first: Ints, size: Ints) -> Floats:
    """Probabilities q^k that sum to 1 in each race (power method), k by bisection in all races at once.

    Args:
        implied: (n,) 1 / decimal odds, grouped by race. first, size: (races,) offsets and counts.
    """
    low, high = np.full(len(first), 0.3), np.full(len(first), 5.0)
    log_q = np.log(implied)
    for _ in range(40):
        middle = (low + high) / 2.0
        total = np.add.reduceat(np.exp(log_q * np.repeat(middle, size)), first)
        low, high = np.where(total > 1.0, middle, low), np.where(total > 1.0, high, middle)
    p = np.exp(log_q * np.repeat((low + high) / 2.0, size))
    return np.asarray(p / np.repeat(np.add.reduceat(p, first), size))


class _Tally:
    """Sums over seasons behind the calibration figures."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}

    def add(self, season: Season) -> None:
        """Count one season."""
        run, first = season.runner, season.first
        size = season.race["runners"].astype(np.int64)
        number = np.repeat(np.arange(len(size)), size)
        odds = decimal_ladder()[nearest_price(run["sp_implied"].astype(np.float64))]
        implied = 1.0 / odds
        market = power_devig(implied, first, size)
        won = run["position"].astype(np.int64) == 1
        share = won / np.add.reduceat(won.astype(float), first)[number]
        favourite = odds <= np.minimum.reduceat(odds, first)[number]
        favourites = np.add.reduceat(favourite.astype(float), first)[number]
        day = season.race["day"].astype(np.int64)[number]
        winners = np.add.reduceat(won.astype(int), first)
        for name, value in {
            "races": len(size),
            "runs": len(number),
            "favourite_wins": float((share * favourite / favourites).sum()),
            "favourite_in_all": 1.0,
            "market_log_loss": float(-(share * np.log(market)).sum()),
            "true_log_loss": float(-(share * np.log(run["true_probability"].astype(np.float64))).sum()),
            "log_runners": float(np.log(size).sum()),
            "overround": float(((np.add.reduceat(implied, first) - 1.0) / size).sum()),
            "trainer_shared": shared_day_rows(run["trainer"].astype(np.int64), day),
            "jockey_shared": shared_day_rows(run["jockey"].astype(np.int64), day),
            "non_finishers": int((run["outcome"] != 0).sum()),
            "dead_heats": int((winners > 1).sum()),
        }.items():
            self.totals[name] = self.totals.get(name, 0.0) + value

    def summary(self, *, files: tuple[Path, ...], truth_files: tuple[Path, ...], marker: Path) -> SimulationSummary:
        """The figures as rates."""
        t = self.totals
        return SimulationSummary(
            files=files,
            truth_files=truth_files,
            marker=marker,
            runs=int(t["runs"]),
            races=int(t["races"]),
            mean_field=t["runs"] / t["races"],
            favourite_win_rate=t["favourite_wins"] / t["races"],
            market_r2=1.0 - t["market_log_loss"] / t["log_runners"],
            true_r2=1.0 - t["true_log_loss"] / t["log_runners"],
            overround_per_runner=t["overround"] / t["races"],
            trainer_shared_day_rate=t["trainer_shared"] / t["runs"],
            jockey_shared_day_rate=t["jockey_shared"] / t["runs"],
            non_finisher_rate=t["non_finishers"] / t["runs"],
            dead_heat_rate=t["dead_heats"] / t["races"],
        )
