from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from velo_assets.monitoring.retraining import decide_retraining
from velo_assets.monitoring.weekly import WeeklyReport, week_before, write_weekly_report
from velo_assets.serving.predict import TYPES
from velo_assets.serving.prediction_log import create_outcomes
from velo_assets.warehouse.build import replace_table
from velo_assets.warehouse.connection import SCHEMAS

MONDAY = date(2024, 3, 11)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        for schema in SCHEMAS:
            opened.execute(f"create schema {schema}")
        yield opened


def fill(connection: duckdb.DuckDBPyConnection) -> None:
    """Two races on each of five days of the week before; the first runner of each wins at even chances."""
    connection.execute(
        """
        create table core.races as select
            day * 10 + race as race_key, date '2024-03-04' + day::integer as race_date, 'Ascot <b>' as course,
            'result' as stage, 2 as field_size
        from range(5) as days(day), range(2) as races(race);
        create table core.results as select
            race_key, race_key * 10 + runner as runner_key, race_key * 10 + runner as horse_key, race_date,
            (runner = 0)::integer as won, (runner = 0)::double as win_share, runner + 1 as position
        from core.races, range(2) as runners(runner);
        create table market.probabilities as
        select runner_key, 'sp' as price_kind, 2.0 as decimal_odds, 0.5 as probability from core.results;
        create table core.prices as
        select race_key, race_date, 'sp' as price_kind, true as book_complete from core.results;
        create table backtest.bets as select
            'blend_all' as strategy_id, race_date, 1.0 as stake, if(won = 1, 1.0, -1.0) as profit,
            if(won = 1, 'won', 'lost') as status
        from core.results;
        """
    )
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _) in TYPES.items())
    connection.execute(f"create table serving.predictions ({columns})")
    connection.execute(
        """
        insert into serving.predictions by name select
            race_date, race_key, runner_key, horse_key, 'velo' as model_name, 1 as model_version, true as is_champion,
            race_date::timestamptz as predicted_at, race_key::varchar as request_id,
            if(won = 1, 0.6, 0.4) as fair_probability, if(won = 1, 0.6, 0.4) as fundamental_probability,
            'blend' as basis
        from core.results
        """
    )
    create_outcomes(connection)


def write(connection: duckdb.DuckDBPyConnection, folder: Path) -> WeeklyReport:
    return write_weekly_report(connection, folder, MONDAY, price_kind="sp", closing_price=True, simulated=True)


def test_the_week_before_is_monday_to_sunday() -> None:
    assert week_before(MONDAY) == (date(2024, 3, 4), date(2024, 3, 10))
    assert week_before(MONDAY + timedelta(days=6)) == (date(2024, 3, 4), date(2024, 3, 10))


def test_an_empty_warehouse_and_a_week_without_racing_have_a_report(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    empty = write(connection, tmp_path)
    assert empty.headline == "No racing from 2024-03-04 to 2024-03-10."
    assert "Nothing has landed yet." in empty.markdown.read_text()
    fill(connection)
    later = write_weekly_report(
        connection, tmp_path, MONDAY + timedelta(days=21), price_kind="sp", closing_price=True, simulated=False
    )
    assert later.races == 0
    assert "No settled bet this week." in later.html.read_text()


def test_a_week_of_racing_is_told_with_intervals(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fill(connection)
    decision = decide_retraining(
        datetime(2024, 3, 10, 2, tzinfo=UTC),
        champion_data_end=date(2023, 3, 1),
        last_trained=date(2023, 3, 1),
        racing_days=150,
        readings={},
        drift=None,
    )
    replace_table(connection, "monitoring/retrain_decision", decision.to_frame())
    report = write(connection, tmp_path)
    assert report.races == 10
    # Each winner had .6 for .5 of the market: -ln(.6/.5) = -.1823 nats.
    assert report.headline == "10 of 10 races predicted; gap to the market −0.1823 nats a race."
    text = report.markdown.read_text()
    assert "| velo 1 | champion | blend | 10 | −0.1823 |" in text
    assert "| blend_all | 20 | 0.0 | 0.0% |" in text
    assert "a training was asked for; calendar: the newest version learned until 2023-03-01" in text
    assert "SIMULATED" in text
    assert "CLOSING PRICE" in text
    page = report.html.read_text()
    assert "Ascot &lt;b&gt; 10" in page
    assert report.html.name == "weekly_2024-03-04.html"


def test_a_week_without_a_winner_has_no_interval(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fill(connection)
    connection.execute("update backtest.bets set status = 'lost', profit = -1.0")
    text = write(connection, tmp_path).markdown.read_text()
    assert "−100.0%" in text
    assert "nan" not in text


def test_a_champion_that_changes_in_mid_week_speaks_for_the_whole_week(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Version 1 is champion for four races, 2 after it; it prices one of the four again, the others it did on trial."""
    fill(connection)
    connection.execute(
        """
        create table first as from serving.predictions;
        delete from serving.predictions where race_date > date '2024-03-05';
        insert into serving.predictions by name
        select * replace (2 as model_version, race_date > date '2024-03-05' or race_key = 10 as is_champion,
            'again ' || request_id as request_id)
        from first
        """
    )
    create_outcomes(connection)
    report = write(connection, tmp_path)
    assert report.headline == "10 of 10 races predicted; gap to the market −0.1823 nats a race."
    assert [
        line.split(" | ")[:4] for line in report.markdown.read_text().splitlines() if line.startswith("| velo")
    ] == [
        ["| velo 1", "champion", "blend", "4"],
        ["| velo 2", "on trial", "blend", "3"],
        ["| velo 2", "champion", "blend", "7"],
    ]


def test_before_any_champion_the_newest_version_speaks(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fill(connection)
    connection.execute(
        """
        create table first as select * replace (false as is_champion) from serving.predictions;
        delete from serving.predictions;
        insert into serving.predictions by name from first where race_date < date '2024-03-06';
        insert into serving.predictions by name
        select * replace (2 as model_version, 'again ' || request_id as request_id)
        from first where race_date > date '2024-03-04'
        """
    )
    create_outcomes(connection)
    assert write(connection, tmp_path).headline.startswith("8 of 10 races predicted")


def test_a_partial_book_is_one_of_the_decision_price(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fill(connection)
    connection.execute(
        """
        create table landing.manifest as
        select now() as landed_at, 10 as rows, 0 as rejected_rows, 'live' as status;
        insert into core.prices select race_key, race_date, 'touched' as price_kind, false as book_complete
        from core.races;
        update core.prices set book_complete = false where price_kind = 'sp' and race_key = 11
        """
    )
    assert "<dt>Races with a partial book</dt><dd>1</dd>" in write(connection, tmp_path).html.read_text()


def test_a_week_long_over_shows_the_newest_decision(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fill(connection)
    rows = [
        decide_retraining(
            datetime(2026, 11, day, 2, tzinfo=UTC),
            champion_data_end=date(2024, 3, 1),
            last_trained=date(2024, 3, 1),
            racing_days=8,
            readings={},
            drift=None,
        ).to_frame()
        for day in (20, 21)
    ]
    replace_table(connection, "monitoring/retrain_decision", pl.concat(rows))
    report = write(connection, tmp_path)
    assert "no decision yet" not in report.markdown.read_text()
    assert "2026-11-21" in report.html.read_text()
