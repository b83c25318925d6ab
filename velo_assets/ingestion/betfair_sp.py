"""Betfair starting prices: the monthly CSV files of UK and Irish racing.

Belongs here: reading a file into landing.betfair_sp, the market-only data set made of several, and how many of the
landed rows find their runner. Does not belong here: core.prices.

What the files are like, found in those of 2025:
- The race clock runs at UTC+10 all year, whatever the name RACETIME_AEDT says: last evening races stay at 20:30 in
  Britain on both sides of both Australian clock changes, and 02:00-02:59 exists on 2025-10-05, when Sydney skipped it.
- The December file has RACETIME and COUNTRY_ID, and dates whose day and month changed places (`2025-12-01` for
  12 January): its rows of the first twelve days are the 11th and 12th of other months once more.
- Abandoned races stand in the files without result and without price.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from velo_assets.ingestion.delimited import read_delimited
from velo_assets.ingestion.parsed import ParsedFile, Reject, rejects_frame
from velo_assets.racing.courses import IRISH_COURSES

if TYPE_CHECKING:
    import duckdb

REASONS = {
    "broken_date": "the race date is not a calendar date written YYYY-MM-DD",
    "missing_market": "no market or selection id",
    "missing_horse": "no horse",
    "missing_course": "no course",
    "duplicate_runner": "the same selection twice in one market; the first row is kept",
    "unreadable_bsp": "the starting price is not a number; price null",
    "unreadable_result": "the result is none of 1, 0, -1; result unknown",
}
"""Reason codes of rejects, besides those of damaged lines."""

_REQUIRED = ("LOCAL_RACE_DATE", "TRACK", "WIN_MARKET_ID", "SELECTION_ID", "RUNNER_NAME", "WIN_BSP", "WIN_RESULT")
_OPTIONAL = (
    "RACETIME_AEDT", "RACETIME", "COUNTRY", "COUNTRY_ID", "EVENT_ID", "PLACE_MARKET_ID", "RACE_NAME",
    "WIN_MARKET_NAME", "RACE_NUMBER", "RATED_PRICE", "PLACE_BSP", "PLACE_RESULT",
)  # fmt: skip

BETFAIR_SP_SCHEMA: dict[str, pl.DataType] = {
    "line_number": pl.Int64(),
    "race_date": pl.Date(),
    "off_time": pl.Time(),
    "off_utc": pl.Datetime("us"),
    "course": pl.String(),
    "country": pl.String(),
    "event_id": pl.Int64(),
    "market_id": pl.Int64(),
    "place_market_id": pl.Int64(),
    "race_name": pl.String(),
    "market_name": pl.String(),
    "race_number": pl.Int32(),
    "selection_id": pl.Int64(),
    "horse_name": pl.String(),
    "rated_price": pl.Float64(),
    "bsp": pl.Float64(),
    "bsp_status": pl.String(),
    "place_bsp": pl.Float64(),
    "result": pl.String(),
    "won": pl.Int32(),
    "placed": pl.String(),
    "removed": pl.Boolean(),
    "market_winners": pl.Int32(),
    "multi_winner": pl.Boolean(),
    "date_corrected": pl.Boolean(),
}
"""Columns of landing.betfair_sp."""

SOURCE_TIMEZONE = "Australia/Brisbane"
"""Australian eastern time without daylight saving."""

LOCAL_TIMEZONE = "Europe/London"

MARKET_IDS_PER_DAY = 40_000
"""Betfair numbers its markets as it opens them: 33,000 to 42,000 a day between 2017 and 2025, 39,700 in 2025."""

DATE_MARGIN_DAYS = 15
"""By how much nearer to the date of its market id an exchanged date must be to be believed."""

EXCHANGE_YEARS = (2000, 2100)
"""Betfair opened in 2000."""

MAX_DEAD_HEAT = 2
"""Winners a market may have. Two races of 2025 have seven and eight: every runner of one was marked a winner."""

_LOWEST_ODDS = 1.0

MACROS: tuple[str, ...] = (
    # Exchange names carry no country suffix: `Gala Casino Star (IRE)` is `Gala Casino Star`.
    """create or replace temp macro exchange_name(name) as
       text_key(regexp_replace(name, '\\s*\\([A-Za-z]{2,4}\\)\\s*$', ''))""",
    # `Kempton (AW)`, `Newmarket (July)`, `The Curragh`, `Chelmsford City`: one spelling for the course of both sides.
    """create or replace temp macro exchange_course(course) as
       regexp_replace(regexp_replace(text_key(regexp_replace(course, '\\(.*', '')),
                                     '^(?:the|royal|great)(curragh|ascot|yarmouth)$', '\\1'),
                      '(?:ondee|city|downs|park)$', '')""",
)
"""DuckDB macros; `text_key` of velo_assets.racing.identity must exist before them."""


def read_betfair_sp(path: Path) -> ParsedFile:
    """Read one monthly file, .csv or .csv.gz.

    Returns:
        One row per market and selection, columns of `BETFAIR_SP_SCHEMA`. `bsp` is null with a reason in `bsp_status`
        when it is infinite, missing or not above 1. `off_time` is the clock in Britain and Ireland.

    Raises:
        LayoutError: the file as a whole can't be used.
    """
    table = read_delimited(path, _REQUIRED, _OPTIONAL)
    rows = _typed(table.rows)
    rejects = [*table.rejects, *_unusable(rows), *_unreadable(rows)]
    rows = rows.filter(_reason().is_null()).unique(["market_id", "selection_id"], keep="first", maintain_order=True)
    rows = _with_off(_with_dates_put_right(rows))
    winners = (pl.col("result") == "won").sum().over("market_id").cast(pl.Int32)
    rows = rows.with_columns(market_winners=winners, multi_winner=winners > MAX_DEAD_HEAT)
    layout = "betfair_sp RACETIME_AEDT" if "RACETIME_AEDT" in table.columns else "betfair_sp RACETIME"
    typed = rows.select(pl.col(name).cast(kind) for name, kind in BETFAIR_SP_SCHEMA.items())
    return ParsedFile(typed, rejects_frame(rejects), layout)


def load_bsp_market(paths: Iterable[Path]) -> pl.DataFrame:
    """The market-only data set: every runner of every race with a complete Betfair SP book and a believable result.

    A race is kept when each runner that was not removed has a price and a result, one or two of them won, and the
    prices add up to 0.9 to 1.1. Markets that several files repeat are taken once.

    Returns:
        race_id (market id), race_date, off_time, course, country, market_name, horse, selection_id, bsp (decimal
        odds), won (0/1), win_share (1 / number of winners), sorted by date, time, race, price.
    """
    frames = [read_betfair_sp(path).rows for path in paths]
    if not frames:
        raise ValueError("load_bsp_market needs at least one file.")
    rows = pl.concat(frames).sort("date_corrected", maintain_order=True)
    rows = rows.unique(["market_id", "selection_id"], keep="first", maintain_order=True).filter(~pl.col("removed"))
    book = (1 / pl.col("bsp")).sum().over("market_id")
    winners = (pl.col("result") == "won").sum().over("market_id")
    complete = (pl.col("bsp").is_not_null() & pl.col("result").is_in(["won", "lost"])).all().over("market_id")
    rows = rows.filter(complete & book.is_between(0.9, 1.1) & winners.is_between(1, MAX_DEAD_HEAT))
    return rows.select(
        pl.col("market_id").alias("race_id"),
        "race_date",
        "off_time",
        "course",
        "country",
        "market_name",
        pl.col("horse_name").alias("horse"),
        "selection_id",
        "bsp",
        "won",
        (pl.col("won") / (pl.col("won") == 1).sum().over("market_id")).alias("win_share"),
    ).sort("race_date", "off_time", "race_id", "bsp", "selection_id", nulls_last=True)


def join_report(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """How many landed BSP rows find their runner in core.entries, and why the others don't.

    Args:
        connection: a warehouse with landing.betfair_sp, core.races and core.entries, macros registered.

    Returns:
        outcome, markets, runners; one row per outcome: `joined`, `removed before the race`, `no racing landed that
        day`, `no such course that day`, `no such horse at the course that day`, `several such horses`.
    """
    report: pl.DataFrame = connection.sql(
        """
        with priced as (
            select race_date, exchange_course(course) as course_text, exchange_name(horse_name) as horse_text,
                   market_id, selection_id, removed
            from landing.betfair_sp
            qualify row_number() over (partition by market_id, selection_id order by date_corrected, sequence desc) = 1
        ),
        races as (select race_key, race_date, exchange_course(course) as course_text from core.races),
        meetings as (select distinct race_date, course_text from races),
        days as (select distinct race_date from races),
        runners as (
            select races.race_date, races.course_text, exchange_name(entries.horse) as horse_text, count(*) as found
            from core.entries as entries join races using (race_key)
            group by all
        )
        select case when found = 1 then 'joined'
                    when found > 1 then 'several such horses'
                    when removed then 'removed before the race'
                    when days.race_date is null then 'no racing landed that day'
                    when meetings.course_text is null then 'no such course that day'
                    else 'no such horse at the course that day' end as outcome,
               count(distinct market_id) as markets, count(*) as runners
        from priced
        left join days using (race_date)
        left join meetings using (race_date, course_text)
        left join runners using (race_date, course_text, horse_text)
        group by outcome order by runners desc
        """
    ).pl()
    return report


def _number(column: str, kind: pl.DataType) -> pl.Expr:
    value = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value).cast(kind)


def _of_our_time(day: pl.Expr) -> pl.Expr:
    """Null for a day of the year 0 or 50000, which reads as a date here and as none in the warehouse."""
    return pl.when(day.dt.year().is_between(*EXCHANGE_YEARS)).then(day)


def _result(column: str) -> pl.Expr:
    words = {1.0: "won", 0.0: "lost", -1.0: "removed"}
    code = pl.col(column).cast(pl.Float64, strict=False)
    return code.replace_strict(words, default="unknown", return_dtype=pl.String).fill_null("unknown")


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    bsp = pl.col("WIN_BSP").cast(pl.Float64, strict=False)
    place_bsp = _number("PLACE_BSP", pl.Float64())
    country = pl.coalesce("COUNTRY", pl.col("COUNTRY_ID").str.strip_suffix(".0"))
    irish = pl.col("TRACK").str.to_lowercase().str.replace_all("[^a-z]", "").is_in(IRISH_COURSES)
    return rows.with_columns(
        _number("EVENT_ID", pl.Int64()).alias("event_id"),
        _number("WIN_MARKET_ID", pl.Int64()).alias("market_id"),
        _number("PLACE_MARKET_ID", pl.Int64()).alias("place_market_id"),
        _number("SELECTION_ID", pl.Int64()).alias("selection_id"),
        _number("RACE_NUMBER", pl.Int32()).alias("race_number"),
        _number("RATED_PRICE", pl.Float64()).alias("rated_price"),
        _of_our_time(pl.col("LOCAL_RACE_DATE").str.to_date("%Y-%m-%d", strict=False)).alias("race_date"),
        _of_our_time(pl.coalesce("RACETIME_AEDT", "RACETIME").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)).alias(
            "clock"
        ),
        pl.col("TRACK").alias("course"),
        pl.col("RACE_NAME").alias("race_name"),
        pl.col("WIN_MARKET_NAME").alias("market_name"),
        pl.col("RUNNER_NAME").alias("horse_name"),
        country.replace_strict({"GB": "GB", "1": "GB", "IE": "IRE", "IRE": "IRE", "35": "IRE"}, default=None)
        .fill_null(pl.when(irish).then(pl.lit("IRE")).otherwise(pl.lit("GB")))
        .alias("country"),
        pl.when(bsp.is_finite() & (bsp > _LOWEST_ODDS)).then(bsp).alias("bsp"),
        pl.when(pl.col("WIN_BSP").is_null() | bsp.is_nan())
        .then(pl.lit("missing"))
        .when(bsp.is_null())
        .then(pl.lit("unreadable"))
        .when(bsp.is_infinite())
        .then(pl.lit("infinite"))
        .when(bsp <= _LOWEST_ODDS)
        .then(pl.lit("out of range"))
        .otherwise(pl.lit("ok"))
        .alias("bsp_status"),
        pl.when(place_bsp > _LOWEST_ODDS).then(place_bsp).alias("place_bsp"),
        _result("WIN_RESULT").alias("result"),
        _result("PLACE_RESULT").alias("placed"),
    ).with_columns(
        pl.col("result").replace_strict({"won": 1, "lost": 0}, default=None, return_dtype=pl.Int32).alias("won"),
        (pl.col("result") == "removed").alias("removed"),
    )


def _with_dates_put_right(rows: pl.DataFrame) -> pl.DataFrame:
    """Exchange day and month of rows whose market id says so; flag them in `date_corrected`.

    Rows past the twelfth can't have been exchanged: with the steady numbering of markets they date every other id.
    """
    sure = rows.filter(pl.col("race_date").dt.day() > 12).select(
        pl.col("market_id").median().alias("market_id"), pl.col("race_date").median().alias("day")
    )
    if sure["market_id"][0] is None:
        return rows.with_columns(date_corrected=pl.lit(False))
    id_days = (pl.col("market_id") - sure["market_id"][0]) / MARKET_IDS_PER_DAY
    expected = pl.lit(sure["day"][0]).cast(pl.Datetime("us")) + pl.duration(seconds=id_days * 86_400)
    clock = pl.col("clock")
    exchanged = pl.when(clock.dt.day() <= 12).then(
        clock.dt.replace(month=clock.dt.day().clip(1, 12), day=clock.dt.month())
    )
    gain = (clock - expected).abs() - (exchanged - expected).abs()
    corrected = (gain > pl.duration(days=DATE_MARGIN_DAYS)).fill_null(False)
    return rows.with_columns(
        pl.when(corrected).then(exchanged).otherwise(clock).alias("clock"), corrected.alias("date_corrected")
    )


def _with_off(rows: pl.DataFrame) -> pl.DataFrame:
    utc = pl.col("clock").dt.replace_time_zone(SOURCE_TIMEZONE).dt.convert_time_zone("UTC")
    local = utc.dt.convert_time_zone(LOCAL_TIMEZONE)
    return rows.with_columns(
        utc.dt.replace_time_zone(None).alias("off_utc"),
        local.dt.time().alias("off_time"),
        pl.when("date_corrected").then(local.dt.date()).otherwise("race_date").alias("race_date"),
    )


def _reason() -> pl.Expr:
    return (
        pl.when(pl.col("race_date").is_null())
        .then(pl.lit("broken_date"))
        .when(pl.col("market_id").is_null() | pl.col("selection_id").is_null())
        .then(pl.lit("missing_market"))
        .when(pl.col("horse_name").is_null())
        .then(pl.lit("missing_horse"))
        .when(pl.col("course").is_null())
        .then(pl.lit("missing_course"))
    )


def _unusable(rows: pl.DataFrame) -> list[Reject]:
    judged = rows.with_columns(reason=_reason())
    repeated = judged.filter(
        pl.col("reason").is_null() & ~pl.struct("market_id", "selection_id").is_first_distinct()
    ).with_columns(reason=pl.lit("duplicate_runner"))
    return _as_rejects(pl.concat([judged.filter(pl.col("reason").is_not_null()), repeated]))


def _unreadable(rows: pl.DataFrame) -> list[Reject]:
    bsp = rows.filter(pl.col("bsp_status") == "unreadable").with_columns(reason=pl.lit("unreadable_bsp"))
    result = rows.filter((pl.col("result") == "unknown") & pl.col("WIN_RESULT").is_not_null())
    return _as_rejects(pl.concat([bsp, result.with_columns(reason=pl.lit("unreadable_result"))]))


def _as_rejects(rows: pl.DataFrame) -> list[Reject]:
    return [
        {
            "line_number": row["line_number"],
            "raw_text": ",".join("" if row[name] is None else row[name] for name in _REQUIRED),
            "reason": row["reason"],
            "detail": None,
        }
        for row in rows.to_dicts()
    ]
