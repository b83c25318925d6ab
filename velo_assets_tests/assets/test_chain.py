"""The whole chain on a small simulated world: what is built, what the UI shows, what a rerun changes."""

import fcntl
import json
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from velo_assets.assets.builds import nodes_of
from velo_assets.assets.serving import DECIDED_AT_TAG, TRAIN_TAG, last_backtest_run
from velo_assets.automation.runner import Outcome, RunFailed, execute, plan, run_chain
from velo_assets.definitions import build_defs, defs
from velo_assets.modelling.market import FALLBACK_METHOD, METHODS, choose_methods
from velo_assets.monitoring.roi_archive import LEAST_BETS
from velo_assets.partitions import range_tags
from velo_assets.resources.models import RegistryResource
from velo_assets.settings import DataRoot
from velo_assets.warehouse.builds import found_settings
from velo_assets.warehouse.query import frame_of
from velo_assets_tests.conftest import YEARS, BuiltWorld
from velo_assets_tests.reports.found_again import numbers_again, text_of

TABLES = (
    "core.races",
    "core.entries",
    "core.results",
    "core.prices",
    "features.runner_features",
    "market.probabilities",
)


def contents(world: BuiltWorld, tables: tuple[str, ...] = TABLES) -> dict[str, tuple[int, int]]:
    """Rows and an order-free hash of each table."""
    with world.warehouse.connect("test") as connection:
        return {
            table: connection.execute(f"select count(*), bit_xor(hash(t)) from {table} as t").fetchall()[0]
            for table in tables
        }


def rows(world: BuiltWorld, year: int) -> dict[str, pl.DataFrame]:
    """Rows of a year of each table, in the order of their keys."""
    with world.warehouse.connect("test") as connection:
        frames = {
            table: frame_of(connection, f"select * from {table} where year(race_date) = ?", [year]) for table in TABLES
        }
    keys = ("race_date", "race_key", "runner_key", "price_kind")
    return {table: frame.sort([key for key in keys if key in frame.columns]) for table, frame in frames.items()}


def materialization(world: BuiltWorld, name: str) -> dg.AssetMaterialization:
    event = world.instance.get_latest_materialization_event(dg.AssetKey(name.split("/")))
    assert event is not None, name
    assert event.asset_materialization is not None
    return event.asset_materialization


def test_every_asset_is_built(built_world: BuiltWorld) -> None:
    wanted = {spec.key.to_user_string() for asset in defs.assets for spec in asset.specs}
    assert wanted == set(built_world.outcome.built)


def test_every_year_is_materialized(built_world: BuiltWorld) -> None:
    years = built_world.instance.get_materialized_partitions(dg.AssetKey(["features", "form_curves"]))
    assert years == {str(year) for year in YEARS}


def test_every_check_has_passed(built_world: BuiltWorld) -> None:
    keys = [key for check in defs.asset_checks for key in check.check_keys]
    summaries = built_world.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert set(summaries) == set(keys)
    failed = [key for key, record in summaries.items() if not record.event.asset_check_evaluation.passed]
    assert failed == []


@pytest.mark.parametrize(
    "name", ["core/results", "features/form_curves", "features/runner_features", "market/probabilities", "models/blend"]
)
def test_tables_show_rows_schema_and_lineage(built_world: BuiltWorld, name: str) -> None:
    metadata = materialization(built_world, name).metadata
    with built_world.warehouse.connect("test") as connection:
        rows = connection.execute(f"select count(*) from {name.replace('/', '.')}").fetchall()[0][0]
    assert metadata["dagster/row_count"].value == rows
    columns = metadata["dagster/column_schema"].value.columns
    assert columns
    assert all(column.description for column in columns)
    assert metadata["dagster/column_lineage"].value.deps_by_column


def test_every_column_of_the_backtest_is_described_in_the_ui_and_in_the_warehouse(built_world: BuiltWorld) -> None:
    with built_world.warehouse.connect("test") as connection:
        rows = connection.execute(
            "select table_name, column_name, comment from duckdb_columns() where schema_name = 'backtest'"
        ).fetchall()
    assert [(table, column) for table, column, comment in rows if not comment] == []
    assert {"predictions", "bets", "trials", "convergence", "module_scores"} <= {table for table, _, _ in rows}
    for name in ("predictions", "bets", "strategies", "breakdowns", "error_map", "comparison"):
        shown = materialization(built_world, f"backtest/{name}").metadata["dagster/column_schema"].value.columns
        assert all(column.description for column in shown), name
    made_of = materialization(built_world, "backtest/predictions").metadata["made_of"].value
    line = next(
        line for line in made_of.splitlines() if line.startswith("| won_last | features.runner_features.won_last |")
    )
    assert "raceform.pos" in line


@pytest.mark.parametrize("layer", ["monitoring", "serving"])
def test_every_column_is_stored_with_what_it_is(built_world: BuiltWorld, layer: str) -> None:
    with built_world.warehouse.connect("test") as connection:
        columns = connection.execute(
            "select table_name, column_name, comment from duckdb_columns() "
            "where database_name = current_database() and schema_name = ?",
            [layer],
        ).fetchall()
    assert len({table for table, _, _ in columns}) >= 3
    assert [(table, name) for table, name, comment in columns if not comment or comment == name.replace("_", " ")] == []


def test_every_strategy_is_in_the_archive_of_returns(built_world: BuiltWorld) -> None:
    with built_world.warehouse.connect("test") as connection:
        bet_on = connection.execute(
            "select strategy_id from backtest.bets where status in ('won', 'placed', 'lost') group by 1 "
            "having count(*) >= ? order by 1",
            [LEAST_BETS],
        ).fetchall()
        kept = connection.execute("select distinct strategy_id from monitoring.roi_archive order by 1").fetchall()
    assert ("market_all",) in kept
    assert kept == bet_on


def test_form_curves_lead_back_to_results(built_world: BuiltWorld) -> None:
    lineage = materialization(built_world, "features/form_curves").metadata["dagster/column_lineage"].value
    sources = {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage.deps_by_column["form_ewma"]}
    assert ("core/results", "position") in sources


def test_a_table_tells_in_words_what_its_columns_are_made_of(built_world: BuiltWorld) -> None:
    text = materialization(built_world, "features/form_curves").metadata["made_of"].value
    line = next(line for line in text.splitlines() if line.startswith("| form_ewma |"))
    assert "core.results.position" in line
    assert "raceform.pos" in line


def test_nothing_of_a_later_year_is_in_the_training_of_an_earlier_one(built_world: BuiltWorld) -> None:
    with built_world.warehouse.connect("test") as connection:
        late = connection.execute(
            "select count(*) from models.fundamental where race_date < cutoff or year(race_date) <> fold"
        ).fetchall()
    assert late == [(0,)]


def test_the_reports_say_simulated(built_world: BuiltWorld) -> None:
    reports = built_world.root.reports
    for page in ("tear_sheet.html", "drift_report.html"):
        assert "SIMULATED" in (reports / page).read_text(encoding="utf-8")
    scoreboard = json.loads((reports / "scoreboard.json").read_text(encoding="utf-8"))
    assert scoreboard["data"]["kind"] == "simulated"
    assert [fold["year"] for fold in scoreboard["folds"]] == [2023]
    assert set(scoreboard) >= {"data", "decision_price", "folds", "pooled", "strategies", "acceptance", "gate"}
    assert "closing price" in scoreboard["decision_price"]
    assert list((reports / "drift").glob("*.html"))


def test_a_landing_links_the_page_of_its_files(built_world: BuiltWorld) -> None:
    # Later runs land nothing and have no page; the oldest is the first landing's.
    events = built_world.instance.fetch_materializations(dg.AssetKey(["landing", "raceform"]), limit=50).records
    pages = [
        record.asset_materialization.metadata["quality_page"].value
        for record in events
        if record.asset_materialization and "quality_page" in record.asset_materialization.metadata
    ]
    page = Path(str(pages[-1])).read_text(encoding="utf-8")
    assert "SIMULATED" in page
    assert "simulated_2021.csv" in page
    assert page.count('<table class="heat">') == 1


def test_the_numbers_of_the_tear_sheet_are_found_again_in_the_warehouse(built_world: BuiltWorld) -> None:
    page = text_of((built_world.root.reports / "tear_sheet.html").read_text(encoding="utf-8"))
    with built_world.warehouse.connect("test") as connection:
        shipped = materialization(built_world, "backtest/tear_sheet").metadata["shipped"].value
        found = numbers_again(connection, f"{shipped}_top20")
    assert len(found) >= 10
    assert {name: value for name, value in found.items() if value not in page} == {}


def test_the_page_of_the_modules_is_linked_from_the_tear_sheet(built_world: BuiltWorld) -> None:
    reports = built_world.root.reports
    assert 'href="error_map.html"' in (reports / "tear_sheet.html").read_text(encoding="utf-8")
    assert "SIMULATED." in (reports / "error_map.html").read_text(encoding="utf-8")


def test_each_model_and_year_has_an_mlflow_run(built_world: BuiltWorld) -> None:
    runs = materialization(built_world, "models/fundamental").metadata["mlflow_runs"].value
    assert set(runs) == {"2022", "2023"}


def test_the_fundamental_model_shows_what_moves_it(built_world: BuiltWorld) -> None:
    shown = materialization(built_world, "models/fundamental").metadata["shap_summary"].value
    assert "data:image/png;base64," in shown
    assert list((built_world.root.path / "mlartifacts").rglob("shap_summary.png"))


def test_each_year_is_devigged_by_a_method_of_earlier_years(built_world: BuiltWorld) -> None:
    with built_world.warehouse.connect("test") as connection:
        losses = frame_of(connection, "select * from market.devig_methods")
        used = frame_of(
            connection,
            "select distinct year(race_date) as year, method from market.probabilities where price_kind = 'sp'",
        )
        wrong = connection.execute(
            "select count(*) from market.probabilities where probability is distinct from case method "
            + " ".join(f"when '{name}' then p_{name}" for name in METHODS)
            + " end"
        ).fetchall()
    assert wrong == [(0,)]
    chosen = choose_methods(losses, YEARS)
    assert dict(used.iter_rows()) == {year: chosen.get((year, "sp"), FALLBACK_METHOD) for year in YEARS}
    shown = materialization(built_world, "market/probabilities").metadata["methods"].value
    assert "too few settled full books" in shown


def test_a_year_without_a_vote_is_named(built_world: BuiltWorld) -> None:
    from velo_assets.modelling.market_window import _earlier_losses

    with built_world.warehouse.connect("test") as connection:
        connection.execute("begin transaction")
        try:
            connection.execute("delete from market.devig_methods where year(race_date) = 2022")
            with pytest.raises(FileNotFoundError, match="lacks 2022"):
                _earlier_losses(connection, date(2023, 12, 31))
            assert _earlier_losses(connection, date(2022, 12, 31))["race_date"].dt.year().unique().to_list() == [2021]
            connection.execute("drop table market.devig_methods")
            with pytest.raises(FileNotFoundError, match="materialize it first"):
                _earlier_losses(connection, date(2023, 12, 31))
        finally:
            connection.execute("rollback")


def test_a_second_run_changes_nothing(built_world: BuiltWorld) -> None:
    before = contents(built_world)
    said: list[str] = []
    outcome = run_chain(defs, built_world.instance, built_world.root, say=said.append)
    assert said == ["Everything is up to date."]
    assert {name.split("/")[0] for name in outcome.built} == {"landing"}
    assert contents(built_world) == before


def test_one_year_built_alone_gives_the_same_tables(built_world: BuiltWorld) -> None:
    before = rows(built_world, 2022)
    names = [
        spec.key.to_user_string()
        for asset in defs.assets
        for spec in asset.specs
        if spec.key.path[0] in ("core", "features", "market")
    ]
    execute(defs, built_world.instance, "refresh", Outcome(), assets=names, years=(2022, 2022))
    after = rows(built_world, 2022)
    for table, frame in before.items():
        # Two threads add floats in either order, and a z-score near 0 is a difference of nearly equal sums.
        assert_frame_equal(after[table], frame, check_exact=False, rel_tol=1e-6, abs_tol=1e-6)


def test_a_year_before_the_first_fold_leaves_empty_windows_and_the_others_as_they_were(built_world: BuiltWorld) -> None:
    models = [
        spec.key.to_user_string()
        for asset in defs.assets
        for spec in asset.specs
        if spec.key.path[0] == "models" or spec.key.path == ["backtest", "walk_forward"]
    ]
    tables = tuple(name.replace("/", ".") for name in models)
    before = contents(built_world, tables)
    execute(defs, built_world.instance, "refresh", Outcome(), assets=models, years=(YEARS[0], YEARS[0]))
    assert contents(built_world, tables) == before
    for name in models:
        if name.startswith("models/"):
            said = materialization(built_world, name).metadata["no_fold"].value
            assert str(said).startswith(f"Nothing to score in {YEARS[0]} to {YEARS[0]}: "), name


def test_a_warm_up_year_alone_is_scored_though_the_data_before_its_end_have_no_scored_year(
    built_world: BuiltWorld,
) -> None:
    count = "select count(*) from models.intent where year(race_date) = 2022"
    with built_world.warehouse.connect("test") as connection:
        before = connection.execute(count).fetchall()
    execute(defs, built_world.instance, "refresh", Outcome(), assets=["models/intent"], years=(2022, 2022))
    with built_world.warehouse.connect("test") as connection:
        assert connection.execute(count).fetchall() == before != [(0,)]


def test_a_year_with_too_little_before_it_leaves_an_empty_window_unless_it_is_the_last(built_world: BuiltWorld) -> None:
    def refresh(year: int) -> None:
        execute(defs, built_world.instance, "refresh", Outcome(), assets=["models/intent"], years=(year, year))

    prices = "market.probabilities where year(race_date) <= 2022"
    with built_world.warehouse.connect("test") as connection:
        connection.execute(f"create table market.kept as select * from {prices}")
        connection.execute("update market.probabilities set probability = null where year(race_date) <= 2022")
    try:
        refresh(2022)
        said = materialization(built_world, "models/intent").metadata["no_fold"].value
        assert str(said).startswith("Nothing to score in 2022 to 2022: ")
        with pytest.raises(RunFailed, match="NoPricesError: intent, cutoff 2023-01-01"):
            refresh(2023)
    finally:
        with built_world.warehouse.connect("test") as connection:
            connection.execute(f"delete from {prices}")
            connection.execute("insert into market.probabilities select * from market.kept")
            connection.execute("drop table market.kept")
    refresh(2022)
    assert "no_fold" not in materialization(built_world, "models/intent").metadata


def test_settings_found_by_a_search_are_kept_and_hold_for_later_years(built_world: BuiltWorld) -> None:
    def refresh(**options: object) -> None:
        result = defs.resolve_job_def("refresh").execute_in_process(
            instance=built_world.instance,
            run_config={"ops": {"models__fundamental": {"config": options}}},
            tags=range_tags(2022, 2022),
            asset_selection=[dg.AssetKey(["models", "fundamental"])],
        )
        assert result.success

    def out_of_date() -> set[str]:
        return set(plan(nodes_of(defs.assets), built_world.root, to_layer="models").assets)

    before, behind = contents(built_world, ("models.fundamental",)), out_of_date()
    refresh(search_trials=2)
    with built_world.warehouse.connect("test") as connection:
        found = found_settings(connection, "models/fundamental")
    assert list(found) == [2022]
    assert found[2022]["trials"] == 2
    assert out_of_date() >= {"models/fundamental", "models/blend"}
    refresh(forget_found=True)
    assert contents(built_world, ("models.fundamental",)) == before
    assert out_of_date() == behind


def test_data_that_reach_no_scored_year_are_refused_in_words(
    built_world: BuiltWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("velo_assets.ingestion.manifest.race_years", lambda connection: (2021, 2022))
    with pytest.raises(RunFailed, match="from 2021 to 2022, and the first year to be scored is 2023"):
        execute(defs, built_world.instance, "refresh", Outcome(), assets=["models/intent"], years=(2022, 2022))


def test_a_locked_registry_fails_in_words_and_leaves_the_table_as_it_was(built_world: BuiltWorld) -> None:
    before = contents(built_world, ("models.disruption", "meta.builds"))
    impatient = build_defs(resource_overrides={"model_registry": RegistryResource(lock_timeout_seconds=0.2)})
    with (built_world.root.path / "mlflow.db.lock").open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RunFailed, match="RegistryLockedError"):
            execute(
                impatient,
                built_world.instance,
                "refresh",
                Outcome(),
                assets=["models/disruption"],
                years=(2023, 2023),
            )
    assert contents(built_world, ("models.disruption", "meta.builds")) == before


def test_a_feature_that_vanished_fails_in_words_and_leaves_the_table_as_it_was(built_world: BuiltWorld) -> None:
    before = contents(built_world, ("models.disruption", "meta.builds"))
    exports = sorted(built_world.root.exports.glob("*.parquet"))
    kept = {path: path.read_bytes() for path in exports}
    try:
        for path in exports:
            pl.read_parquet(path).drop("won_last").write_parquet(path)
        with pytest.raises(RunFailed, match=r"MissingFeatureError: disruption: .* won_last"):
            execute(defs, built_world.instance, "refresh", Outcome(), assets=["models/disruption"], years=(2023, 2023))
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert contents(built_world, ("models.disruption", "meta.builds")) == before


def test_a_decision_made_before_the_newest_version_was_there_trains_no_second_one(built_world: BuiltWorld) -> None:
    tags = {TRAIN_TAG: "yes", DECIDED_AT_TAG: "1.0"}
    execute(defs, built_world.instance, "train", Outcome(), assets=["serving/recipe"], tags=tags)
    shown = materialization(built_world, "serving/recipe").metadata
    assert (shown["trained"].value, shown["versions"].value) == (False, 1)


def test_the_recipe_is_held_to_the_newest_stored_backtest(built_world: BuiltWorld, tmp_path: Path) -> None:
    # Whether or not Dagster has heard of it: a process can die between the record and the event.
    told = materialization(built_world, "backtest/tear_sheet").metadata["run"].value
    assert last_backtest_run(built_world.root) == told
    with pytest.raises(ValueError, match="no stored backtest: materialize"):
        last_backtest_run(DataRoot(tmp_path))


def test_a_page_that_could_not_be_written_is_not_on_record_as_built(built_world: BuiltWorld) -> None:
    def built_at() -> list[tuple[object, ...]]:
        with built_world.warehouse.connect("test") as connection:
            return connection.execute("select built_at from meta.builds where name = 'backtest/error_map'").fetchall()

    before = built_at()
    page = built_world.root.reports / "error_map.html"
    content = page.read_bytes()
    page.unlink()
    page.mkdir()
    try:
        with pytest.raises(RunFailed, match="Is a directory"):
            execute(defs, built_world.instance, "refresh", Outcome(), assets=["backtest/error_map"])
    finally:
        page.rmdir()
        page.write_bytes(content)
    assert built_at() == before


def test_years_asked_for_are_planned_and_no_others(built_world: BuiltWorld) -> None:
    nodes = nodes_of(defs.assets)
    todo = plan(nodes, built_world.root, to_layer="features", years=(2022, 2022))
    assert (todo.first_year, todo.last_year) == (2022, 2022)
    assert {name.split("/")[0] for name in todo.assets} == {"core", "features"}
    with pytest.raises(ValueError, match="no layer 'feature'"):
        plan(nodes, built_world.root, to_layer="feature")


def test_status_tells_it_in_one_screen(built_world: BuiltWorld) -> None:
    from velo_assets.automation.status import status_text

    text = status_text(built_world.root, built_world.instance)
    assert "(simulated results)" in text
    assert "Results     2021-" in text
    assert "refused by the gate" in text or "passed the gate" in text
    assert "Retraining" in text
    assert len(text.splitlines()) < 30
