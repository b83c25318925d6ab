from datetime import date, timedelta

import duckdb
import polars as pl
import pytest

from velo_assets.monitoring.drift_history import keep_drift
from velo_assets.reports.drift_history import MOST_FAMILIES, MOST_REPORTS, drift_history_png

REPORT = pl.DataFrame(
    {
        "family": ["form", "form", "draw"],
        "verdict": ["drift", "quiet", "missingness"],
        "psi": [0.2, 0.01, None],
        "psi_threshold": [0.1, 0.05, None],
        "psi_usual": [0.02, 0.1, None],
        "reference_end": [date(2023, 12, 31)] * 3,
    }
)


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    opened = duckdb.connect()
    opened.execute("create schema monitoring")
    return opened


def test_each_report_leaves_a_row_per_family(connection: duckdb.DuckDBPyConnection) -> None:
    keep_drift(connection, REPORT, date(2024, 1, 7))
    history = keep_drift(connection, REPORT, date(2024, 1, 14))
    assert history.height == 4
    form = history.filter(family="form", report_date=date(2024, 1, 14)).to_dicts()[0]
    assert (form["columns"], form["moved"], form["gone_missing"], form["worst_ratio"]) == (2, 1, 0, 2.0)
    assert history.filter(family="draw")["worst_ratio"].null_count() == 2


def test_a_second_report_of_a_day_replaces_the_first(connection: duckdb.DuckDBPyConnection) -> None:
    keep_drift(connection, REPORT, date(2024, 1, 7))
    history = keep_drift(connection, REPORT.head(2), date(2024, 1, 7))
    assert history["family"].to_list() == ["form"]


def test_families_without_a_ratio_come_last_and_in_one_order(connection: duckdb.DuckDBPyConnection) -> None:
    families = [f"family {number:02d}" for number in range(MOST_FAMILIES + 3)]
    report = pl.concat([REPORT.head(1).with_columns(family=pl.lit(name), psi_usual=None) for name in families])
    report = pl.concat([report.cast(REPORT.schema), REPORT.head(2)])  # type: ignore[arg-type]
    history = keep_drift(connection, report, date(2024, 1, 7))
    picture = drift_history_png(history)
    assert picture == drift_history_png(history.reverse())
    # The one family whose ratio is known is among those that are drawn.
    assert picture != drift_history_png(history.with_columns(worst_ratio=None).cast(history.schema))  # type: ignore[arg-type]


def test_the_picture_shows_the_latest_reports_and_what_moved_in_them(connection: duckdb.DuckDBPyConnection) -> None:
    nights = [date(2024, 1, 1) + timedelta(days=night) for night in range(MOST_REPORTS + 1)]
    for night in nights:
        history = keep_drift(connection, REPORT.head(2), night)
    assert drift_history_png(history) == drift_history_png(history.filter(pl.col("report_date") > nights[0]))
    assert drift_history_png(history) != drift_history_png(history.filter(pl.col("report_date") > nights[1]))
    # A family that only the report before these knew has no row.
    gone = history.head(1).with_columns(family=pl.lit("gone"), worst_ratio=pl.lit(9.0))
    assert drift_history_png(pl.concat([gone, history])) == drift_history_png(history)


def test_the_picture_is_drawn_and_an_empty_history_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    history = keep_drift(connection, REPORT, date(2024, 1, 7))
    assert drift_history_png(history).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no report"):
        drift_history_png(history.clear())
