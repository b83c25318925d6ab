"""A day's card from its file to its page, in one process: what a race morning has no minutes to wait for.

New files are landed, the days that they touch are built up to their features, the day is priced and its page written.
These are the functions that the assets call; only the assets' records stay as they are, so that the next `velo run`
still builds, checks and shows in the UI what was built here.

Belongs here: the order of the steps, and which days they have to build. Does not belong here: the steps themselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl

from velo_assets.ingestion.landing import LandingSummary, land
from velo_assets.ingestion.manifest import LIVE, create_tables, results_kind, year_fingerprints
from velo_assets.modelling.market_window import market_window
from velo_assets.serving.card_page import read_card_page, write_card_page
from velo_assets.serving.predict import ServingModel, predict_cards, readable, store_predictions
from velo_assets.serving.prediction_log import keep_log
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import catalogued_tables, refresh_table, replace_window, table_exists
from velo_assets.warehouse.builds import Node, stale, stored_fingerprints
from velo_assets.warehouse.changes import first_change
from velo_assets.warehouse.side_by_side import side_by_side
from velo_assets.warehouse.sql_table import SqlTable, build_order, load_table

CARDS = "landing/racecards"

LAYERS_OF_A_CARD = ("core", "features", "market")
"""What a price is made of besides the models."""


class NotBuiltError(ValueError):
    """The tables that a card's features are made of are behind their files or their code."""


@dataclass(frozen=True)
class PricedDay:
    """What came of a card.

    Attributes:
        predictions: a row per runner priced, as in serving.predictions.
        new: those of them that were not stored before.
        page: reports/cards/DATE.html.
        lacking: versions that predict nothing by their label, and the columns that they miss.
        landing: what the landing did.
        landed: fingerprint of the landed files of each year, up to which the day's tables now are.
        seconds: what each step took; together all of the time.
    """

    predictions: pl.DataFrame
    new: pl.DataFrame
    page: Path
    lacking: Mapping[str, list[str]]
    landing: LandingSummary
    landed: Mapping[int, str]
    seconds: Mapping[str, float]


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


_File = tuple[str, str, str, date | None, date | None]
"""File, content, kind, first and last day of a live file."""


def price_day(
    root: DataRoot,
    connection: duckdb.DuckDBPyConnection,
    models: Sequence[ServingModel],
    day: date,
    nodes: Iterable[Node],
    now: datetime,
    known: Mapping[int, str] | None = None,
) -> PricedDay:
    """Land what has come, bring the day's tables up to it, price the day and write its page.

    Args:
        root: data root.
        connection: its warehouse, read-write.
        models: from `serving_models`; the first of those that can predict is the page's.
        day: race day.
        nodes: all assets, dependencies before dependants.
        now: the moment of the predictions.
        known: `landed` of the last call of this process; what it built need not be looked at again.

    Raises:
        NotBuiltError: years before the day's last two are out of date; nothing was priced. Landed files stay landed.
        ValueError: no version can predict, or a runner has no features.
        FileNotFoundError: an earlier year's market was never measured.
    """
    clock = _Clock()
    nodes = [node for node in nodes if node.name.split("/")[0] in ("landing", *LAYERS_OF_A_CARD)]
    with clock.step("landing"):
        create_tables(connection)
        before, files = year_fingerprints(connection), _live_files(connection)
        landing = land(root, connection, today=now.date())
        landed = year_fingerprints(connection)
    with clock.step("planning"):
        behind = {} if landed == known else _behind(connection, nodes, landed)
        # What comes after the day is nothing to it.
        years = sorted({year for missing in behind.values() for year in missing if year <= day.year})
        _require_earlier_years(behind, day, years)
        was_behind = before != known and any(name.startswith("core/") for name in _behind(connection, nodes, before))
        touched = None if was_behind else _days_of_cards(files ^ _live_files(connection))
        # Asked once for all; what it says of a table holds until that is refreshed.
        catalogued = catalogued_tables(connection)

    def refresh_core(worker: duckdb.DuckDBPyConnection, name: str) -> None:
        for first, last in _windows(years, touched):
            refresh_table(worker, name, first, last, touched, catalogued.pop(name, None))

    def refresh_features(worker: duckdb.DuckDBPyConnection, name: str) -> None:
        for first, last in _windows(years, None):
            table = load_table(name)
            if touched and touched[0] >= first and not table.is_by_race and _holds(worker, table, first):
                # Made for 1 January, of the years before it alone.
                continue
            since = first_change(worker, table, first, last)
            if since:
                refresh_table(worker, name, first, last, (since, last), catalogued.pop(name, None))

    with clock.step("core"):
        side_by_side(connection, _core_of_a_price(of_cards=touched is not None), refresh_core)
    with clock.step("features"):
        side_by_side(connection, build_order("features"), refresh_features)
    with clock.step("market"):
        if years:
            frame, _ = market_window(connection, day, day)
            replace_window(connection, "market/probabilities", frame, day, day)
    with clock.step("prices"):
        able, lacking = readable(connection, models)
        # With nobody left it fails, by the words of the version that misses its columns.
        able = able or list(models)
        rows = predict_cards(connection, able, [day], now)
        new = store_predictions(connection, rows)
    with clock.step("page"), ThreadPoolExecutor(max_workers=1) as pool, connection.cursor() as other:
        logged = pool.submit(keep_log, other, root.reports / "prediction_log")
        frame = read_card_page(connection, day, able[0])
        simulated = results_kind(connection) == "simulated"
        page = write_card_page(frame, root.reports / "cards" / f"{day}.html", day=day, simulated=simulated)
        logged.result()
    return PricedDay(rows, new, page, lacking, landing, landed, clock.seconds)


def _core_of_a_price(*, of_cards: bool) -> list[str]:
    """Core tables that features are made of, in order; on demand only those of which cards are a part."""
    read = {name for table in build_order("features") for name in load_table(table).dependencies}
    names: list[str] = []
    for name in build_order("core", sorted(read)):
        if not of_cards or {CARDS, *names} & set(load_table(name).dependencies):
            names.append(name)
    return names


def _behind(
    connection: duckdb.DuckDBPyConnection, nodes: Sequence[Node], landed: Mapping[int, str]
) -> dict[str, tuple[int, ...]]:
    return stale(nodes, stored_fingerprints(connection), landed, sorted(landed))


def _holds(connection: duckdb.DuckDBPyConnection, table: SqlTable, day: date) -> bool:
    if not table_exists(connection, table.name):
        return False
    return bool(connection.execute(f"select 1 from {table.relation} where race_date = ? limit 1", [day]).fetchall())


def _require_earlier_years(behind: Mapping[str, Sequence[int]], day: date, years: Sequence[int]) -> None:
    old = [year for year in years if year < day.year - 1]
    if old:
        layers = ", ".join(sorted({name.split("/")[0] for name, missing in behind.items() if set(missing) & set(old)}))
        span = f"{old[0]}" if len(old) == 1 else f"{old[0]} to {old[-1]}"
        raise NotBuiltError(
            f"{layers} of {span} are behind the files that have landed, or behind the code: `velo run --to market` "
            "brings them up to date; then the day can be priced."
        )


def _live_files(connection: duckdb.DuckDBPyConnection) -> set[_File]:
    return set(
        connection.execute(
            "select file, sha256, kind, first_date, last_date from landing.manifest where status = ?", [LIVE]
        ).fetchall()
    )


def _days_of_cards(changed: Iterable[_File]) -> tuple[date, date] | None:
    """First and last day of the files that came or went, if these are cards alone: a card's rows are of its day only.

    None where something else has changed, whose days are not known, and where nothing has.
    """
    changed = list(changed)
    days = [day for *_, first, last in changed for day in (first, last) if day is not None]
    return (min(days), max(days)) if days and all(kind == "racecards" for _, _, kind, *_ in changed) else None


def _windows(years: Iterable[int], touched: tuple[date, date] | None) -> Iterator[tuple[date, date]]:
    """The years that have to be built, those without a touched day left out."""
    for year in years:
        if touched is None or touched[0].year <= year <= touched[1].year:
            yield date(year, 1, 1), date(year, 12, 31)
