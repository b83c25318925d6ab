"""The data quality page of a landing, and the counts behind the asset checks on landed data.

Here: null rates, distinct counts, ranges and odd values per column and year; rejects per reason; identity collisions.
Not here: what is rejected and why (rejects.py, raceform.py), or any judgement on a ceiling (velo_assets/checks).
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from velo_assets.ingestion.layouts import LANDED_COLUMNS
from velo_assets.ingestion.rejects import REASONS
from velo_assets.ingestion.sql_text import literal, quoted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TYPED_TABLES = ("races", "entries", "results", "prices")
"""Tables of core whose typed columns are profiled."""

_RARE_VALUES = 8
"""Rarest values shown per column: typing errors live there."""

_MANY_VALUES = 400
"""Columns with more distinct values than this are names or measures; their rarest values say nothing."""

_TEMPLATE = "quality.html.j2"

_TYPED_PROFILE: dict[str, pl.DataType] = {
    "column": pl.String(),
    "year": pl.Int64(),
    "null_rate": pl.Float64(),
    "distinct_count": pl.Int64(),
    "low": pl.String(),
    "median": pl.String(),
    "high": pl.String(),
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
        connection: warehouse with core tables and the raceform macros.
    """
    found = []
    for name, (meaning, query) in _COLLISIONS.items():
        shown = connection.execute(f"select shown, count(*) over () from ({query}) order by shown limit 5").fetchall()
        found.append(Collision(name, meaning, int(shown[0][1]) if shown else 0, tuple(str(row[0]) for row in shown)))
    return tuple(found)


def rejects_per_reason(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rejected rows and fields of the live files per reason code."""
    rows = connection.execute(
        """select reason, count(*) from landing.rejects join landing.manifest using (file, sha256)
           where manifest.status = 'live' group by reason order by 2 desc, 1"""
    ).fetchall()
    return {str(reason): int(count) for reason, count in rows}


def raw_profile(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Raw text columns of landing.raceform per year.

    Returns:
        column, year, rows, null_rate (blank or dash), distinct_count (approximate), rejected_fields.
    """
    select = ", ".join(
        f"avg(({quoted(name)} is null or {quoted(name)} in ('-', '–', '—'))::integer) as {quoted('null ' + name)}, "
        f"approx_count_distinct({quoted(name)}) as {quoted('distinct ' + name)}"
        for name in LANDED_COLUMNS
    )
    rows = connection.sql(
        f"select race_year as year, count(*) as rows, {select} from landing.raceform group by race_year order by 1"
    ).pl()
    counts = {
        (str(reason).removeprefix("unreadable_"), int(year)): int(count)
        for reason, year, count in connection.execute(
            """select reason, try_cast(left(raw_text, 4) as integer) as year, count(*) from landing.rejects
               where reason like 'unreadable_%' and year is not null group by all"""
        ).fetchall()
    }
    return pl.DataFrame(
        [
            {
                "column": name,
                "year": int(row["year"]),
                "rows": int(row["rows"]),
                "null_rate": row["null " + name],
                "distinct_count": int(row["distinct " + name]),
                "rejected_fields": counts.get((name, int(row["year"])), 0),
            }
            for name in LANDED_COLUMNS
            for row in rows.iter_rows(named=True)
        ],
        schema={
            "column": pl.String(),
            "year": pl.Int64(),
            "rows": pl.Int64(),
            "null_rate": pl.Float64(),
            "distinct_count": pl.Int64(),
            "rejected_fields": pl.Int64(),
        },
    )


def typed_profile(connection: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame:
    """Typed columns of one core table per year.

    Args:
        connection: warehouse.
        table: table of core.

    Returns:
        column ('entries.weight_lb'), year, null_rate, distinct_count, low, median, high (text; null for words).
    """
    described = connection.execute(f"describe core.{quoted(table)}").fetchall()
    frames = []
    for name, kind in ((str(row[0]), str(row[1])) for row in described):
        if name.endswith("_key") or name in {"race_date", "source_file", "source", "comment"}:
            continue
        number = kind in _NUMBERS
        spread = (
            f"round(min({quoted(name)}), 3)::varchar, round(median({quoted(name)}), 3)::varchar, "
            f"round(max({quoted(name)}), 3)::varchar"
            if number
            else "null::varchar, null::varchar, null::varchar"
        )
        frames.append(
            f"""select {literal(f"{table}.{name}")} as "column", year(race_date) as year,
                       avg(({quoted(name)} is null)::integer) as null_rate,
                       approx_count_distinct({quoted(name)}) as distinct_count, {spread}
                from core.{quoted(table)} group by all"""
        )
    query = " union all ".join(frames)
    frame = connection.sql(f'select * from ({query}) order by "column", year').pl()
    return pl.DataFrame(frame.rows(), schema=_TYPED_PROFILE, orient="row")


def rare_values(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The rarest raw values of every column that has few distinct ones: where typing errors show.

    Returns:
        column -> 'value (count), ...'.
    """
    found = {}
    for name in LANDED_COLUMNS:
        rows = connection.execute(
            f"""select value, rows, count(*) over () from (
                    select {quoted(name)} as value, count(*) as rows from landing.raceform
                    where {quoted(name)} is not null group by all)
                order by rows, value limit {_RARE_VALUES}"""
        ).fetchall()
        if rows and rows[0][2] <= _MANY_VALUES:
            found[name] = ", ".join(f"{str(value)[:40]} ({count})" for value, count, _ in rows)
    return found


def write_quality_page(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, Any]:
    """Write the quality page of everything that is landed and built.

    Args:
        connection: warehouse with landing views, core tables and the raceform macros.
        path: the HTML file; self-contained, pictures embedded.

    Returns:
        Numbers for metadata: files, rows, rejected rows and fields, rejects per reason, collisions by name, the
        largest null rate of a column that has values at all.
    """
    import jinja2

    raw = raw_profile(connection)
    typed = [typed_profile(connection, table) for table in TYPED_TABLES]
    rare = rare_values(connection)
    collisions = identity_collisions(connection)
    reasons = rejects_per_reason(connection)
    files = connection.sql(
        """select file, kind, layout, status, rows, rejected_rows, rejected_fields, first_date, last_date, landed_at,
                  error from landing.manifest order by kind, file, sequence"""
    ).pl()
    samples = connection.execute(
        """select file, line_number, severity, reason, detail, left(raw_text, 200) from landing.rejects
           qualify row_number() over (partition by reason order by file, line_number) <= 5 order by reason, file, 2"""
    ).fetchall()
    pictures = [("Raw columns: share of blank values per year", _heat_map(raw))]
    pictures += [
        (f"core.{table}: share of nulls per year", _heat_map(frame))
        for table, frame in zip(TYPED_TABLES, typed, strict=True)
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("velo_assets", "reports/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template(_TEMPLATE).render(
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        files=files.to_dicts(),
        reasons=[
            (reason, count, REASONS.get(reason, "see the reader of this kind")) for reason, count in reasons.items()
        ],
        samples=samples,
        collisions=collisions,
        pictures=[(title, picture) for title, picture in pictures if picture],
        raw=_by_column(raw, rare),
        typed=[row for frame in typed for row in frame.to_dicts()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return {
        "files": files.filter(pl.col("status") == "live").height,
        "refused_files": files.filter(pl.col("status") == "refused").height,
        "rows": int(files.filter(pl.col("status") == "live")["rows"].sum()),
        "rejected_rows": int(files["rejected_rows"].sum()),
        "rejected_fields": int(files["rejected_fields"].sum()),
        "rejects": reasons,
        "collisions": {collision.name: collision.count for collision in collisions},
    }


def _by_column(raw: pl.DataFrame, rare: dict[str, str]) -> list[dict[str, Any]]:
    """One line per raw column: over all years, and the years in which it stands out."""
    if raw.is_empty():
        return []
    lines = []
    for (name,), frame in raw.group_by(["column"], maintain_order=True):
        worst = frame.sort("null_rate", descending=True).row(0, named=True)
        rows = int(frame["rows"].sum())
        blank = float((frame["null_rate"] * frame["rows"]).sum())
        lines.append(
            {
                "column": name,
                "null_rate": blank / rows,
                "worst_year": worst["year"],
                "worst_null_rate": worst["null_rate"],
                "distinct_count": frame["distinct_count"].max(),
                "rejected_fields": int(frame["rejected_fields"].sum()),
                "rare_values": rare.get(str(name), ""),
            }
        )
    return lines


def _heat_map(frame: pl.DataFrame) -> str:
    """Null rate of columns by year as a PNG in base64; empty when there is nothing to draw."""
    if frame.is_empty():
        return ""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide = frame.pivot(on="year", index="column", values="null_rate", sort_columns=True)
    columns, years = wide["column"].to_list(), wide.columns[1:]
    figure: Figure = Figure(figsize=(max(6.0, 1.8 + 0.55 * len(years)), 1.2 + 0.2 * len(columns)), dpi=90)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(wide.drop("column").to_numpy(), aspect="auto", cmap="viridis_r", vmin=0, vmax=1)
    axes.set_xticks(range(len(years)), years, rotation=45, fontsize=7)
    axes.set_yticks(range(len(columns)), columns, fontsize=7)
    figure.colorbar(image, ax=axes, label="share null")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
