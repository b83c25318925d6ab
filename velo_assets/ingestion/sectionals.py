"""Sectional sidecar files: positions at the calls and section times of each runner.

Belongs here: reading the file into landing.sectionals. Does not belong here: joining it to runners
(velo_assets/sql/core/sectionals.sql).

The Hong Kong file repeats the race's own sections on every row of the race (they are the differences of the leader's
times), so they say nothing of the runner. A file whose rows of one race differ has the runner's own. The reader looks,
race by race, and never passes off the leader's section as a runner's.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from velo_assets.ingestion.delimited import read_delimited
from velo_assets.ingestion.parsed import ParsedFile, Reject, rejects_frame

REASONS = {
    "missing_race_id": "no race_id to join by",
    "missing_horse": "no horse",
    "duplicate_runner": "the same horse twice in one race; the first row is kept",
    "unreadable_calls": "a call is no position; null among the readable ones",
    "unreadable_sections": "a section is no time; null among the readable ones",
    "unreadable_race_times": "a race time is no time; null among the readable ones",
    "unreadable_distance_m": "the distance is no number of metres above 0; null",
    "unreadable_declared_weight_lb": "the weight of the horse is no whole number of pounds above 0; null",
}
"""Reason codes of rejects, besides those of damaged lines."""

_REQUIRED = ("race_id", "horse", "calls")
_OPTIONAL = ("declared_weight_lb", "rail", "distance_m", "race_times", "sections")

SECTIONALS_SCHEMA: dict[str, pl.DataType] = {
    "line_number": pl.Int64(),
    "race_id": pl.String(),
    "horse": pl.String(),
    "declared_weight_lb": pl.Int32(),
    "calls": pl.String(),
    "rail": pl.String(),
    "distance_m": pl.Float64(),
    "race_times": pl.String(),
    "sections": pl.String(),
    "call_positions": pl.List(pl.Int32()),
    "section_seconds": pl.List(pl.Float64()),
    "leader_elapsed_seconds": pl.List(pl.Float64()),
    "leader_section_seconds": pl.List(pl.Float64()),
}
"""Columns of landing.sectionals. `section_seconds` is the runner's own, null where the file only has the leader's."""

_SECONDS = r"^(?:(\d+):)?(\d+(?:\.\d+)?)$"
_MAX_POSITION = 60


def read_sectionals(path: Path) -> ParsedFile:
    """Read a sidecar file, .csv or .csv.gz, with columns race_id, horse, calls and any of the others.

    Returns:
        One row per runner, columns of `SECTIONALS_SCHEMA`. `4 3 3 1` in `calls` becomes a list of four positions, `---`
        and blank an empty one. Times are seconds: `13.79`, `(13.79)` and `1:23.30` are read.

    Raises:
        LayoutError: the file as a whole can't be used.
    """
    table = read_delimited(path, _REQUIRED, _OPTIONAL)
    rows = table.rows.with_columns(
        _above_zero("distance_m").alias("metres"),
        _pounds("declared_weight_lb").alias("pounds"),
        _positions("calls").alias("call_positions"),
        _seconds("race_times").alias("leader_elapsed_seconds"),
        _seconds("sections").alias("sections_read"),
    )
    rejects = [*table.rejects, *_unusable(rows), *_unreadable(rows)]
    rows = rows.filter(pl.col("race_id").is_not_null() & pl.col("horse").is_not_null())
    rows = rows.unique(["race_id", "horse"], keep="first", maintain_order=True)
    repeats_leader = (pl.col("sections").n_unique() == 1) & (pl.len() > 1)
    of_race = rows.group_by("race_id").agg(repeats_leader.alias("repeats_leader"))
    rows = rows.join(of_race, on="race_id", how="left", maintain_order="left").with_columns(
        pl.when(~pl.col("repeats_leader")).then("sections_read").alias("section_seconds"),
        _differences("leader_elapsed_seconds").alias("leader_section_seconds"),
        pl.col("metres").alias("distance_m"),
        pl.col("pounds").alias("declared_weight_lb"),
    )
    return ParsedFile(_typed(rows), rejects_frame(rejects), "sectionals")


def _parts(column: str) -> pl.Expr:
    """List of the blank-separated parts of a text column; `---` and null give an empty list."""
    return pl.col(column).fill_null("").str.extract_all(r"[^\s]+").list.filter(~pl.element().str.contains("^-+$"))


def _positions(column: str) -> pl.Expr:
    number = pl.element().cast(pl.Int32, strict=False)
    return _parts(column).list.eval(pl.when(number.is_between(1, _MAX_POSITION)).then(number))


def _seconds(column: str) -> pl.Expr:
    bare = pl.element().str.strip_chars("()")
    minutes = bare.str.extract(_SECONDS, 1).cast(pl.Float64).fill_null(0.0)
    return _parts(column).list.eval(minutes * 60 + bare.str.extract(_SECONDS, 2).cast(pl.Float64))


def _above_zero(column: str) -> pl.Expr:
    value = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite() & (value > 0)).then(value)


def _pounds(column: str) -> pl.Expr:
    # 1122.0 is how a spreadsheet leaves a whole number in a column with gaps.
    value = _above_zero(column)
    return pl.when(value == value.round()).then(value).cast(pl.Int32, strict=False)


def _differences(column: str) -> pl.Expr:
    return pl.col(column).list.eval((pl.element() - pl.element().shift(1, fill_value=0.0)).round(2))


def _unusable(rows: pl.DataFrame) -> list[Reject]:
    found = rows.filter(pl.col("race_id").is_null() | pl.col("horse").is_null()).with_columns(
        reason=pl.when(pl.col("race_id").is_null()).then(pl.lit("missing_race_id")).otherwise(pl.lit("missing_horse"))
    )
    repeated = rows.filter(
        pl.col("race_id").is_not_null()
        & pl.col("horse").is_not_null()
        & ~pl.struct("race_id", "horse").is_first_distinct()
    ).with_columns(reason=pl.lit("duplicate_runner"))
    return _as_rejects(pl.concat([found, repeated]), None)


def _unreadable(rows: pl.DataFrame) -> list[Reject]:
    rejects: list[Reject] = []
    for column, parsed in (
        ("calls", "call_positions"),
        ("sections", "sections_read"),
        ("race_times", "leader_elapsed_seconds"),
    ):
        bad = rows.filter(pl.col(parsed).list.eval(pl.element().is_null()).list.any())
        rejects += _as_rejects(bad.with_columns(reason=pl.lit(f"unreadable_{column}")), column)
    for column, parsed in (("distance_m", "metres"), ("declared_weight_lb", "pounds")):
        bad = rows.filter(pl.col(parsed).is_null() & ~pl.col(column).str.contains("^-+$"))
        rejects += _as_rejects(bad.with_columns(reason=pl.lit(f"unreadable_{column}")), column)
    return rejects


def _as_rejects(rows: pl.DataFrame, detail: str | None) -> list[Reject]:
    raw = pl.concat_str(_REQUIRED + _OPTIONAL, separator=",", ignore_nulls=True)
    picked = rows.select(
        "line_number",
        raw.alias("raw_text"),
        "reason",
        (pl.col(detail) if detail else pl.lit(None, pl.String)).alias("detail"),
    )
    return [Reject(**row) for row in picked.to_dicts()]  # type: ignore[typeddict-item]


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.col(name).cast(kind) for name, kind in SECTIONALS_SCHEMA.items())
