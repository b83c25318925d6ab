"""Data quality pages: one per landing that brings something new, one of everything on request; and counts for checks.

Here: blank rates, distinct counts, ranges and odd values per column and year; rejects per reason; identity collisions.
Not here: what is rejected and why (rejects.py, raceform.py), or any judgement on a ceiling (velo_assets/checks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from velo_assets.ingestion import betfair_sp, manifest, racecards, sectionals, streams
from velo_assets.ingestion.rejects import REASONS as RACEFORM_REASONS
from velo_assets.ingestion.sql_text import file_literal, literal, quoted
from velo_assets.racing.macros import register
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.query import frame_of

if TYPE_CHECKING:
    from velo_assets.ingestion.landing import LandingSummary

REASONS = streams.REASONS | sectionals.REASONS | racecards.REASONS | betfair_sp.REASONS | RACEFORM_REASONS
"""What every reader's reason codes mean."""

TYPED_TABLES = ("races", "entries", "results", "prices")
"""Tables of core whose typed columns are profiled."""

_ODD_VALUES = 4
"""Odd values shown per column and year: typing errors live there."""

_MANY_VALUES = 400
"""Columns with more distinct values than this are names or measures; their rarest values say nothing."""

_MOSTLY = 0.9
"""A column is one of numbers when this share of its known values are: its range is then numeric, the others are odd."""

_BLANK = "(value is null or trim(value) in ('', '-', '–', '—'))"

_PROVENANCE = ("source_file", "sequence", "row_hash", "line_number", "race_year", "race_key", "horse_key", "runner_key")
"""Columns that landing adds; they are ours and can't be odd."""

_TEMPLATE = "quality.html.j2"

_PROFILE: dict[str, pl.DataType] = {
    "column": pl.String(),
    "year": pl.Int64(),
    "rows": pl.Int64(),
    "null_rate": pl.Float64(),
    "distinct_count": pl.Int64(),
    "low": pl.String(),
    "high": pl.String(),
    "odd_values": pl.String(),
    "rejected_fields": pl.Int64(),
}

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE")


@dataclass(frozen=True)
class Collision:
    """A kind of identity collision.

    Attributes:
        name: short name, a metadata key.
        meaning: what it says, in a sentence.
        count: how many there are.
        examples: a few, readable.
    """

    name: str
    meaning: str
    count: int
    examples: tuple[str, ...]


_COLLISIONS: dict[str, tuple[str, str]] = {
    "horse_keys_with_two_foaling_years": (
        "one horse key whose ages point to two foaling years: two horses, or a wrong age",
        """select any_value(horse) as shown from core.entries where age_years is not null
           group by horse_key having count(distinct year(race_date) - age_years) > 1""",
    ),
    "horse_names_with_two_keys": (
        "one name and suffix with two dams or foaling years: a name given again, kept apart",
        """select any_value(horse) as shown from core.entries
           group by name_key(horse) having count(distinct horse_key) > 1""",
    ),
    "race_ids_of_two_races": (
        "one race_id on two races: the id is reused by the export",
        """select race_id || ': ' || string_agg(race_label, ' / ' order by race_label) as shown
           from core.races where race_id is not null group by race_id having count(*) > 1""",
    ),
    "races_with_two_race_ids": (
        "one date, course and off time under two race ids: two races merged, or an id that changed",
        """select any_value(races.race_label) as shown
           from landing.raceform join core.races using (race_key)
           group by landing.raceform.race_key, landing.raceform.sequence
           having count(distinct landing.raceform.race_id) > 1""",
    ),
    "fields_that_differ_from_ran": (
        "races whose rows differ in number from the runners the source states",
        "select race_label as shown from core.races where stage = 'result' and declared_runners <> field_size",
    ),
    "positions_beyond_the_field": (
        "positions larger than the number of rows of the race",
        """select races.race_label as shown from core.results join core.races using (race_key)
           where results.position > races.field_size""",
    ),
    "races_that_do_not_settle": (
        "races without a winner among their rows",
        """select any_value(races.race_label) as shown from core.results join core.races using (race_key)
           group by results.race_key having sum(results.won) = 0""",
    ),
    "trainer_labels_of_one_key": (
        "two spellings of a trainer that differ in case, spaces or punctuation only, taken as one",
        """select string_agg(distinct trainer, ' / ' order by trainer) as shown from core.entries
           where trainer_key is not null group by trainer_key having count(distinct trainer) > 1""",
    ),
    "jockey_labels_of_one_key": (
        "two spellings of a jockey that differ in case, spaces or punctuation only, taken as one",
        """select string_agg(distinct jockey, ' / ' order by jockey) as shown from core.entries
           where jockey_key is not null group by jockey_key having count(distinct jockey) > 1""",
    ),
}


def identity_collisions(connection: duckdb.DuckDBPyConnection) -> tuple[Collision, ...]:
    """Count what keys can't tell apart, or have to keep apart; nothing is merged here.

    Args:
        connection: warehouse with core tables.
    """
    register(connection)
    found = []
    for name, (meaning, query) in _COLLISIONS.items():
        shown = connection.execute(f"select shown, count(*) over () from ({query}) order by shown limit 5").fetchall()
        found.append(Collision(name, meaning, int(shown[0][1]) if shown else 0, tuple(str(row[0]) for row in shown)))
    return tuple(found)


def landed_profile(connection: duckdb.DuckDBPyConnection, root: Path, kind: str, parts: Sequence[str]) -> pl.DataFrame:
    """Columns of landed files as they came, per year.

    One grouping per column and year does it all: distinct values are few where values repeat, and exact counts of them
    cost no more than estimates would.

    Args:
        connection: warehouse.
        root: data root that the parts are relative to.
        kind: raceform, racecards, sectionals, betfair_sp or streams.
        parts: Parquet files of one kind below the landing folder.

    Returns:
        column, year (null in files without dates), rows, null_rate (null, blank or a dash), distinct_count, low and
        high (numeric where nearly all values are numbers), odd_values (not numbers among numbers, else the rarest),
        rejected_fields (0 until counted).
    """
    files = ", ".join(file_literal(root / part) for part in parts)
    relation = f"read_parquet([{files}], union_by_name=true, hive_partitioning=false)"
    described = [(str(row[0]), str(row[1])) for row in connection.execute(f"describe from {relation}").fetchall()]
    year = "year(race_date)" if "race_date" in dict(described) else "null::bigint"
    lines: list[dict[str, Any]] = []
    for name, _ in described:
        if name in _PROVENANCE or (kind == "raceform" and name in ("race_date", "reason")):
            continue
        rarest_of = f"min_by([left(value, 40), rows::varchar], {{'rows': rows, 'value': value}}, {_ODD_VALUES})"
        rows_of_column = connection.execute(
            f"""
            with seen as (
                select {year} as year, {quoted(name)}::varchar as value, count(*) as rows, {_BLANK} as blank,
                       try_cast(value as double) as number
                from {relation} group by all
            )
            select year, sum(rows)::bigint, coalesce(sum(rows) filter (blank), 0) / sum(rows),
                   count(*) filter (not blank) as distinct_count,
                   coalesce(sum(rows) filter (not blank and number is not null), 0)
                       >= {_MOSTLY} * sum(rows) filter (not blank),
                   min(number) filter (not blank), max(number) filter (not blank),
                   left(min(value) filter (not blank), 40), left(max(value) filter (not blank), 40),
                   {rarest_of} filter (not blank and number is null),
                   {rarest_of} filter (not blank)
            from seen group by year order by year"""
        ).fetchall()
        for at, rows, blank, distinct, numeric, low, high, first, last, no_numbers, rarest in rows_of_column:
            odd = no_numbers if numeric else rarest if 1 < distinct <= _MANY_VALUES else None
            lines.append(
                {
                    "column": name,
                    "year": at,
                    "rows": rows,
                    "null_rate": float(blank),
                    "distinct_count": distinct,
                    "low": f"{low:g}" if numeric else first,
                    "high": f"{high:g}" if numeric else last,
                    "odd_values": ", ".join(f"{value} ({int(count):,})" for value, count in odd or ()),
                    "rejected_fields": 0,
                }
            )
    return pl.DataFrame(lines, schema=_PROFILE)


def typed_profile(connection: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame:
    """Typed columns of one core table per year, as `landed_profile` gives them; low and high are null for words."""
    described = connection.execute(f"describe core.{quoted(table)}").fetchall()
    frames = []
    for name, kind in ((str(row[0]), str(row[1])) for row in described):
        if name.endswith("_key") or name in {"race_date", "source_file", "source", "comment"}:
            continue
        spread = (
            f"round(min({quoted(name)}), 3)::varchar as low, round(max({quoted(name)}), 3)::varchar as high"
            if kind in _NUMBERS
            else "null::varchar as low, null::varchar as high"
        )
        frames.append(
            f"""select {literal(name)} as "column", year(race_date) as year, count(*) as rows,
                       avg(({quoted(name)} is null)::integer) as null_rate,
                       approx_count_distinct({quoted(name)}) as distinct_count, {spread}, '' as odd_values,
                       0 as rejected_fields
                from core.{quoted(table)} group by all"""
        )
    query = " union all ".join(frames)
    frame = connection.sql(f'select * from ({query}) order by "column", year').pl()
    return pl.DataFrame(frame.rows(), schema=_PROFILE, orient="row")


def write_quality_page(connection: duckdb.DuckDBPyConnection, root: DataRoot, path: Path) -> None:
    """Write the quality page of everything that is landed and built.

    Args:
        connection: warehouse with landing views and core tables.
        root: the data root.
        path: the HTML file; self-contained.

    Raises:
        FileNotFoundError: a table is not built yet.
    """
    for name in ("landing/manifest", *(f"core/{table}" for table in TYPED_TABLES)):
        if not table_exists(connection, name):
            raise FileNotFoundError(f"There is no table {name} yet: `velo run` builds it.")
    files = connection.sql(f"select {_FILE_COLUMNS} from landing.manifest order by kind, file, sequence").pl()
    parts = {kind: manifest.live_parts(connection, kind) for kind in manifest.KINDS}
    collisions = identity_collisions(connection)
    typed = [(f"core.{table}", typed_profile(connection, table)) for table in TYPED_TABLES]
    exchange = betfair_sp.join_report(connection).rows() if parts["betfair_sp"] else []
    _write_page(
        connection, root, path, "Everything that has landed, as it stands in the warehouse.", files, parts,
        rejects="landing.rejects join landing.manifest using (file, sha256) where manifest.status = 'live'",
        collisions=collisions, typed=typed, exchange=exchange,
    )  # fmt: skip


def write_landing_page(connection: duckdb.DuckDBPyConnection, root: DataRoot, summary: LandingSummary) -> Path | None:
    """Write the quality page of one landing: the files that landed now and nothing else, so that history costs nothing.

    Args:
        connection: warehouse after the landing.
        root: the data root.
        summary: what the landing did.

    Returns:
        `reports/landings/landing_<number>.html`, by the place of its last file in landing order; None when nothing
        landed.
    """
    names = [file.file for file in summary.landed]
    if not names:
        return None
    connection.register("landed_now", pl.DataFrame({"file": names}))
    connection.execute(
        "create or replace temp table landing_page_files as select * from landing.manifest "
        "where file in (select file from landed_now) "
        "qualify row_number() over (partition by file order by sequence desc) = 1"
    )
    connection.unregister("landed_now")
    parts: dict[str, list[str]] = {}
    for kind, part in connection.execute(
        "select kind, unnest(parquet) as part from landing_page_files order by sequence, part"
    ).fetchall():
        parts.setdefault(str(kind), []).append(str(part))
    files = connection.sql(f"select {_FILE_COLUMNS}, sequence from landing_page_files order by sequence").pl()
    page = _write_page(
        connection, root, root.reports / "landings" / f"landing_{files['sequence'].max():06d}.html",
        f"What landed in this run: {files.height} files, {files['rows'].sum():,} rows.", files, parts,
        rejects="landing.rejects join landing_page_files using (file, sha256) where true",
    )  # fmt: skip
    connection.execute("drop table landing_page_files")
    return page


_FILE_COLUMNS = "file, kind, layout, status, rows, rejected_rows, rejected_fields, first_date, last_date, error"


def _write_page(
    connection: duckdb.DuckDBPyConnection,
    root: DataRoot,
    path: Path,
    about: str,
    files: pl.DataFrame,
    parts: dict[str, list[str]],
    *,
    rejects: str,
    collisions: Sequence[Collision] = (),
    typed: Sequence[tuple[str, pl.DataFrame]] = (),
    exchange: Sequence[tuple[str, int, int]] = (),
) -> Path:
    from velo_assets.reports.pages import banners, render_page, write_page

    landed = [
        (
            f"landing.{kind}",
            _with_rejects(connection, rejects, kind, landed_profile(connection, root.path, kind, names)),
        )
        for kind, names in parts.items()
        if names
    ]
    reasons = connection.execute(
        f"select reason, count(*) from {rejects} group by reason order by 2 desc, 1"
    ).fetchall()
    samples = connection.execute(
        f"""select file, line_number, severity, reason, detail, left(raw_text, 200) from {rejects}
            qualify row_number() over (partition by reason order by file, line_number) <= 5 order by reason, file, 2"""
    ).fetchall()
    page = render_page(
        _TEMPLATE,
        banners=banners(simulated=manifest.results_kind(connection) == "simulated", closing_price=False),
        facts=f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        about=about,
        files=files.to_dicts(),
        reasons=[(reason, n, REASONS.get(reason, "")) for reason, n in reasons],
        samples=samples,
        collisions=collisions,
        exchange=exchange,
        profiles=[(name, *_heat(frame), frame.to_dicts()) for name, frame in [*landed, *typed] if frame.height],
    )
    return write_page(path, page)


def _with_rejects(
    connection: duckdb.DuckDBPyConnection, rejects: str, kind: str, profile: pl.DataFrame
) -> pl.DataFrame:
    """Count the fields of a kind that could not be read, per column and year (null where the kind has no dates)."""
    year = "try_cast(left(raw_text, 4) as bigint)" if profile["year"].count() else "null::bigint"
    counted = frame_of(
        connection,
        f"""select substr(reason, 12) as "column", {year} as year, count(*) as unreadable
            from {rejects} and kind = ? and reason like 'unreadable_%' group by all""",
        [kind],
    )
    return (
        profile.join(counted, on=["column", "year"], how="left", nulls_equal=True, maintain_order="left")
        .with_columns(rejected_fields=pl.col("unreadable").fill_null(0))
        .drop("unreadable")
    )


def _heat(frame: pl.DataFrame) -> tuple[list[int | None], list[tuple[str, list[float | None]]]]:
    """Years, and per column its share of blanks in each of them."""
    years = sorted(frame["year"].unique().to_list(), key=lambda year: year or 0)
    shares = {(line["column"], line["year"]): line["null_rate"] for line in frame.iter_rows(named=True)}
    columns = frame["column"].unique(maintain_order=True).to_list()
    return years, [(name, [shares.get((name, year)) for year in years]) for name in columns]
