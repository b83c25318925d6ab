"""Core tables from literal files: every rule of the raceform contract, with values worked by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from velo_assets.ingestion.landing import land
from velo_assets.racing.macros import register
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import build_table
from velo_assets_tests.ingestion import test_betfair_sp as betfair
from velo_assets_tests.ingestion.raceform_rows import beaten, csv_text, row

TABLES = ("core/races", "core/entries", "core/results", "core/prices", "core/card_changes")
START, END = date(2015, 1, 1), date(2025, 12, 31)

DEAD_HEAT = [
    row(off="1:10", pos="1"),
    beaten(off="1:10", pos="1", ovr_btn="0"),
    beaten(off="1:10", pos="3", horse="Third (GB)", dam="Dam C", ovr_btn="4.25", btn="4.25", time="-"),
]
NON_FINISHERS = [
    row(off="2:10", type="Chase", draw="3.0"),
    *(
        beaten(off="2:10", type="Chase", pos=code, horse=f"Faller {code}", dam=f"Dam {code}", ovr_btn="-", btn="-")
        for code in ("PU", "F", "UR", "BD", "RR", "REF", "RO", "SU", "DSQ", "CO", "LFT", "0", "40", "XYZ")
    ),
]
WINNER_ONLY_SP = [row(off="3:10"), beaten(off="3:10", sp="")]
NO_SP = [row(off="4:10", sp=""), beaten(off="4:10", sp="–")]
ODD_PRICES = [
    row(off="5:10", sp="EvensF", comment="Led(op 11/10 tchd 5/4 and 4/5)"),
    beaten(off="5:10", sp="11/4J", horse="Joint", dam="Dam J", comment=""),
    beaten(off="5:10", sp="100/30", horse="Unreduced", dam="Dam U", comment=""),
    beaten(off="5:10", sp="F", horse="Bare Mark", dam="Dam F", comment="(tchd 9/1)"),
]
ABROAD = [
    row(course="Longchamp (FR)", off="2:20", class_="", rating_band="", prize="€8,280", going="Very Soft", wgt="9-2"),
    row(course="Sha Tin (AW) (HK)", off="11:15", going="Good", age="", sire="", owner="", dam="", hg="", num="1A"),
    row(course="Churchill Downs (USA)", off="13:45", going="Muddy", draw="0", num="0", or_="–"),
]
HEADGEAR = [
    row(off="6:10", hg="e/s", horse="A", dam="A", sex="BB"),
    row(off="6:10", hg="tp1", horse="B", dam="B"),
    row(off="6:10", hg="", horse="C", dam="C"),
]
NO_DISTANCE = [row(off="7:10", dist="", race_id="S1"), beaten(off="7:10", dist="", race_id="S1")]
SIDECAR = """race_id,horse,declared_weight_lb,calls,rail,distance_m,race_times,sections
S1,GALA CASINO STAR (IRE),1091,2 1,C+3,2400,(24.0) (48.5),24.0 24.5
S2,Epsilon (GB),1042,---,A,2015,---,---
"""
LATER = {"region": "IRE", "dist_f": "9", "dist_m": "1811", "lbs": "124", "secs": "114.79", "dec": "4.5"}

CARD: dict[str, Any] = {
    "date": "2025-06-01", "course": "Ascot", "off_time": "14:30", "race_name": "Summer Handicap", "race_type": "Flat",
    "race_id": 1, "race_class": 2, "age_band": "3yo+", "rating_band": "0-95", "distance_round": "1m2f",
    "distance_y": 2200, "distance": "1m2f", "distance_f": 10.0, "going": "Good", "surface": "Turf",
    "field_size": 3, "handicap": True,
    "region": "GB", "pattern": "", "prize": "", "course_id": 2, "course_detail": "",
}  # fmt: skip


def card_runner(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name, "region": "GB", "number": 1, "draw": 4, "age": 4, "sex_code": "G", "lbs": 130,
        "headgear": "p", "headgear_first": True, "jockey": "Ann Rider", "trainer": "Bob Trainer", "owner": "Owner",
        "ofr": 90, "rpr": 101, "ts": 88, "sire": "Sire", "sire_region": "IRE", "dam": f"{name} Dam", "dam_region": "GB",
        "damsire": "Damsire", "damsire_region": "GB", "non_runner": False, "horse_id": 1, "dob": "2021-03-01",
        **changes,
    }  # fmt: skip


def card_result(off: str, name: str, **changes: str) -> dict[str, str]:
    same = {
        "date": "2025-06-01", "course": "Ascot", "race_name": "Summer Handicap", "dist": "1m2f", "ran": "2",
        "wgt": "9-4", "horse": f"{name} (GB)", "dam": f"{name} Dam", "jockey": "Ann Rider",
        "trainer": "Bob Trainer", "draw": "4",
    }  # fmt: skip
    return row(**{**same, "off": off, **changes})


def cards() -> dict[str, Any]:
    # Cards of the short kind: no country, pedigree, owner or headgear for anyone.
    short = dict.fromkeys(("region", "sire", "dam", "damsire", "owner", "headgear")) | {"headgear_first": False}
    runners = [
        card_runner("Alpha", lbs=135, jockey_allowance=5),
        card_runner("Beta"),
        card_runner("Gone", non_runner=True),
        card_runner("Late"),
    ]
    runners.append(card_runner("Bare", **short))
    coming = {**CARD, "off_time": "15:05", "runners": [card_runner("Delta"), card_runner("Gone", non_runner=True)]}
    known = [card_runner(name, lbs=133, jockey_allowance=3, **short) for name in ("Epsilon", "Zeta", "Eta")]
    bare = {**CARD, "off_time": "15:40", "race_id": "S2", "runners": known}
    return {"GB": {"Ascot": {"14:30": {**CARD, "runners": runners}, "15:05": coming, "15:40": bare}}}


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    root = DataRoot(tmp_path_factory.mktemp("root"))
    for folder in (root.raceform, root.sectionals, root.racecards):
        folder.mkdir()
    groups = [DEAD_HEAT, NON_FINISHERS, WINNER_ONLY_SP, NO_SP, ODD_PRICES, ABROAD, HEADGEAR, NO_DISTANCE]
    rows = [values for group in groups for values in group]
    (root.raceform / "a.csv").write_text(csv_text(rows), encoding="utf-8")
    amended = [row(off="3:10", horse="Amended Winner", dam="New Dam", going="Soft")]
    (root.raceform / "b.csv").write_text(csv_text(amended), encoding="utf-8")
    results = [
        card_result("14:30", "Alpha", jockey="Sub Rider", going="Good To Soft"),
        card_result("14:30", "Beta", pos="2", wgt="9-6", going="Good To Soft"),
        card_result("14:30", "Added", pos="3", going="Good To Soft"),
        card_result("14:30", "Bare", pos="4", going="Good To Soft"),
    ]
    (root.raceform / "c.csv").write_text(csv_text(results), encoding="utf-8")
    past = {"age": "4", "sire": "Big Sire (GB)", "damsire": "Old Sire"}
    namesakes = [
        row(date="2025-04-01", horse="Epsilon (IRE)", dam="Mother (FR)", **past),
        row(date="2025-04-02", horse="Epsilon (GB)", dam="Another (IRE)", **{**past, "age": "9"}),
        row(date="2025-06-02", horse="Epsilon (FR)", dam="Debutante (FR)", **past),
        row(date="2025-04-03", horse="Zeta (IRE)", dam="Mother (FR)", **past),
        row(date="2025-04-04", horse="Zeta (USA)", dam="Mother (FR)", **past),
    ]
    (root.raceform / "e.csv").write_text(csv_text(namesakes), encoding="utf-8")
    later = {**row(date="2025-05-05", course="Naas"), **LATER}
    del later["sp"], later["wgt"], later["race_id"]
    (root.raceform / "d.csv").write_text(csv_text([later], list(later)), encoding="utf-8")
    (root.sectionals / "s.csv").write_text(SIDECAR, encoding="utf-8")
    (root.racecards / "card.json").write_text(json.dumps(cards()), encoding="utf-8")
    connection = duckdb.connect()
    connection.execute("create schema core")
    register(connection)
    summary = land(root, connection, today=date(2026, 1, 1))
    assert [file.error for file in summary.refused] == []
    for table in TABLES:
        build_table(connection, table, START, END)
    yield connection
    connection.close()


def races(core: duckdb.DuckDBPyConnection, columns: str, where: str) -> list[tuple[Any, ...]]:
    return core.execute(f"select {columns} from core.races where {where} order by race_label").fetchall()


def runners(core: duckdb.DuckDBPyConnection, table: str, columns: str, off: str, order: str) -> list[tuple[Any, ...]]:
    """Rows of the Wetherby race with this off text, the horse from core.entries beside them."""
    return core.execute(
        f"""select {columns} from core.{table} as wanted join core.races using (race_key)
            join (select runner_key, horse from core.entries) using (runner_key)
            where races.off_text = ? and races.course in ('Wetherby', 'Ascot') order by {order}""",
        [off],
    ).fetchall()


def test_label_keys_and_clock(core: duckdb.DuckDBPyConnection) -> None:
    assert races(
        core, "race_label, off_time, country, surface, code", "race_date = '2015-04-26' and course <> 'Wetherby'"
    ) == [
        ("2015-04-26 Churchill Downs (USA) 13:45", time(13, 45), "USA", "all-weather", "all-weather"),
        ("2015-04-26 Longchamp (FR) 2:20", None, "FR", "turf", "flat"),
        ("2015-04-26 Sha Tin (HK) 23:15", time(23, 15), "HK", "all-weather", "all-weather"),
    ]
    assert races(core, "race_label, off_time", "off_text = '1:10'") == [("2015-04-26 Wetherby 13:10", time(13, 10))]
    assert core.execute(
        "select min(race_key) >= 0, min(horse_key) >= 0, min(runner_key) >= 0 from core.entries"
    ).fetchone() == (
        True,
        True,
        True,
    )


def test_race_conditions(core: duckdb.DuckDBPyConnection) -> None:
    columns = (
        "race_class, rating_band_low, rating_band_high, min_age_years, max_age_years, distance_furlongs, distance_m, "
        "going_group, going_index, is_handicap, declared_runners, field_size, stage"
    )
    assert races(core, columns, "off_text = '1:10'") == [
        (5, 0, 70, 4, None, 9.0, pytest.approx(9 * 201.168), "good", 0.0, True, 2, 3, "result")
    ]
    assert races(core, "race_class, rating_band_low, going_group, going_index", "country = 'FR'") == [
        (None, None, "heavy", 2.5)
    ]
    assert races(core, "going_group, going_index", "country in ('HK', 'USA')") == [
        ("aw-slow", 2.0),
        ("aw-standard", 0.0),
    ]


def test_sidecar_gives_distance_rail_and_body_weight(core: duckdb.DuckDBPyConnection) -> None:
    assert races(core, "distance_text, distance_m, distance_furlongs, rail", "race_id = 'S1'") == [
        (None, 2400.0, pytest.approx(2400 / 201.168), "C+3")
    ]
    assert runners(core, "entries", "wanted.horse, body_weight_lb", "7:10", "1") == [
        ("Azamaara (IRE)", None),
        ("Gala Casino Star (IRE)", 1091),
    ]


def test_a_sidecar_of_the_morning_serves_a_card(core: duckdb.DuckDBPyConnection) -> None:
    assert races(core, "stage, distance_m, distance_furlongs, rail", "race_id = 'S2'") == [("card", 2015.0, 10.0, "A")]
    assert runners(core, "entries", "body_weight_lb", "15:40", "wanted.horse")[0] == (1042,)


def test_a_card_weight_is_what_is_carried(core: duckdb.DuckDBPyConnection) -> None:
    assert runners(core, "entries", "weight_lb", "15:40", "wanted.horse") == [(130,)] * 3


def test_parents_have_one_name_on_cards_and_in_results(core: duckdb.DuckDBPyConnection) -> None:
    parents = "wanted.stage, sire, dam, damsire"
    assert runners(core, "entries", parents, "7:10", "dam")[0] == ("result", "Dr Fong (USA)", "Abir", "Soviet Star")
    assert runners(core, "entries", parents, "15:05", "1") == [("card", "Sire (IRE)", "Delta Dam", "Damsire")]


def test_dead_heat_shares_the_win(core: duckdb.DuckDBPyConnection) -> None:
    columns = "position, outcome, won, win_share, dead_heat_runners, beaten_lengths, margin_lengths, time_seconds"
    assert runners(core, "results", columns, "1:10", "position, horse") == [
        (1, "finished", 1, 0.5, 2, 0.0, 0.5, 114.79),
        (1, "finished", 1, 0.5, 2, 0.0, 0.0, 114.79),
        (3, "finished", 0, 0.0, 1, 4.25, 4.25, None),
    ]


def test_non_finishers_stay_in_the_field_and_never_win(core: duckdb.DuckDBPyConnection) -> None:
    found = runners(core, "results", "position_text, position, outcome, won, beaten_lengths", "2:10", "position_text")
    assert found == [
        ("0", None, "unknown", 0, None),
        ("1", 1, "finished", 1, 0.0),
        ("40", 40, "finished", 0, None),
        ("BD", None, "brought down", 0, None),
        ("CO", None, "carried out", 0, None),
        ("DSQ", None, "disqualified", 0, None),
        ("F", None, "fell", 0, None),
        ("LFT", None, "left", 0, None),
        ("PU", None, "pulled up", 0, None),
        ("REF", None, "refused", 0, None),
        ("RO", None, "ran out", 0, None),
        ("RR", None, "refused", 0, None),
        ("SU", None, "slipped up", 0, None),
        ("UR", None, "unseated", 0, None),
        ("XYZ", None, "unknown", 0, None),
    ]
    assert races(core, "field_size, code", "off_text = '2:10'") == [(15, "chase")]


def test_stall_is_null_over_jumps_and_never_zero(core: duckdb.DuckDBPyConnection) -> None:
    assert runners(core, "entries", "distinct stall", "2:10", "1") == [(None,)]
    assert core.execute(
        "select stall, saddle_number, official_rating from core.entries where horse_key is not null "
        "and race_key in (select race_key from core.races where country = 'USA')"
    ).fetchall() == [(None, None, None)]


def test_a_later_file_replaces_the_race_as_a_whole(core: duckdb.DuckDBPyConnection) -> None:
    assert runners(core, "entries", "wanted.horse", "3:10", "1") == [("Amended Winner",)]
    assert races(core, "going, source_file", "off_text = '3:10'") == [("Soft", "raceform/b.csv")]


def test_prices_of_every_form(core: duckdb.DuckDBPyConnection) -> None:
    columns = "price_kind, horse, decimal_odds, favourite_mark, price_text, known_at, book_complete, jurisdiction"
    found = runners(core, "prices", columns, "5:10", "price_kind, horse")
    assert found == [
        ("opening_show", "Gala Casino Star (IRE)", 2.1, None, "(op 11/10 tchd 5/4 and 4/5)", "off", False, "GB"),
        ("sp", "Bare Mark", None, "F", "F", "off", False, "GB"),
        ("sp", "Gala Casino Star (IRE)", 2.0, "F", "EvensF", "off", False, "GB"),
        ("sp", "Joint", 3.75, "J", "11/4J", "off", False, "GB"),
        ("sp", "Unreduced", pytest.approx(1 + 100 / 30), None, "100/30", "off", False, "GB"),
        ("touched", "Bare Mark", 10.0, None, "(tchd 9/1)", "off", False, "GB"),
        ("touched", "Gala Casino Star (IRE)", 1.8, None, "(op 11/10 tchd 5/4 and 4/5)", "off", False, "GB"),
    ]


def test_a_complete_book_and_races_without_prices(core: duckdb.DuckDBPyConnection) -> None:
    book = 2 * (1 / 6) + 1 / 4
    found = core.execute(
        """select distinct book_percent, book_complete from core.prices join core.races using (race_key)
           where off_text = '1:10' and price_kind = 'sp'"""
    ).fetchall()
    assert found == [(pytest.approx(book), False)], "priced throughout, but 58% is no book"
    assert runners(core, "prices", "price_kind", "4:10", "1") == [("opening_show",), ("opening_show",)]


def test_headgear_unknown_none_and_first_time(core: duckdb.DuckDBPyConnection) -> None:
    assert runners(core, "entries", "wanted.horse, headgear, headgear_first_time, sex", "6:10", "1") == [
        ("A", "e", False, "BB"),
        ("B", "pt", True, "G"),
        ("C", "", False, "G"),
    ]
    hong_kong = core.execute(
        """select headgear, headgear_first_time, saddle_number, age_years, sire from core.entries
           where race_key in (select race_key from core.races where country = 'HK')"""
    ).fetchall()
    assert hong_kong == [(None, None, 1, None, None)]
    assert runners(core, "entries", "headgear, headgear_first_time", "15:40", "1") == [(None, None)] * 3


def test_prize_is_read_through_its_currency(core: duckdb.DuckDBPyConnection) -> None:
    assert core.execute(
        "select prize_won from core.results where race_key in (select race_key from core.races where country = 'FR')"
    ).fetchall() == [(8280.0,)]


def test_layout_of_2025_fills_the_same_columns(core: duckdb.DuckDBPyConnection) -> None:
    assert races(core, "course, country, distance_m, distance_furlongs, race_id", "course = 'Naas'") == [
        ("Naas", "IRE", 1811.0, 9.0, None)
    ]
    assert core.execute(
        """select weight_lb, time_seconds, decimal_odds, price_text, favourite_mark
           from core.entries join core.results using (runner_key) join core.prices using (runner_key)
           where price_kind = 'sp' and prices.jurisdiction = 'IRE'"""
    ).fetchall() == [(124, 114.79, 4.5, "4.5", None)]


def test_card_becomes_races_and_entries_without_its_non_runners(core: duckdb.DuckDBPyConnection) -> None:
    assert races(core, "race_label, stage, field_size, distance_m, is_handicap, race_class", "off_text = '15:05'") == [
        ("2025-06-01 Ascot 15:05", "card", 1, pytest.approx(2200 * 0.9144), True, 2)
    ]
    columns = (
        "wanted.horse, stall, weight_lb, headgear, headgear_first_time, official_rating, card_rating, "
        "card_speed_rating, wanted.stage"
    )
    assert runners(core, "entries", columns, "15:05", "1") == [("Delta", 4, 130, "p", True, 90, 101, 88, "card")]
    assert runners(core, "results", "position", "15:05", "1") == []


def test_result_wins_over_card_and_the_differences_are_kept(core: duckdb.DuckDBPyConnection) -> None:
    columns = "wanted.horse, jockey, card_rating, card_speed_rating, wanted.stage"
    assert runners(core, "entries", columns, "14:30", "1") == [
        ("Added (GB)", "Ann Rider", None, None, "result"),
        ("Alpha (GB)", "Sub Rider", 101, 88, "result"),
        ("Bare (GB)", "Ann Rider", None, None, "result"),
        ("Beta (GB)", "Ann Rider", 101, 88, "result"),
    ]
    assert core.execute("select change, card_value, result_value from core.card_changes order by all").fetchall() == [
        ("added runner", None, "Added (GB)"),
        ("going", "Good", "Good To Soft"),
        ("jockey", "Ann Rider", "Sub Rider"),
        ("non-runner", "Late", None),
        ("weight", "130", "132"),
    ]


def test_a_card_without_pedigree_finds_the_one_horse_of_its_name_and_foaling_year(
    core: duckdb.DuckDBPyConnection,
) -> None:
    # Two horses called Zeta were foaled in 2021, and no Eta has run.
    columns = "wanted.horse, sire, dam, damsire"
    assert runners(core, "entries", columns, "15:40", "1") == [
        ("Epsilon (IRE)", "Big Sire", "Mother (FR)", "Old Sire"),
        ("Eta", None, None, None),
        ("Zeta", None, None, None),
    ]
    known = core.execute("select horse, count(distinct horse_key) from core.entries group by horse having count(*) > 1")
    assert ("Epsilon (IRE)", 1) in known.fetchall()


def test_every_runner_is_in_entries_and_results_once(core: duckdb.DuckDBPyConnection) -> None:
    counts = core.execute(
        """select (select count(*) from core.entries where stage = 'result'), (select count(*) from core.results),
                  (select count(distinct runner_key) from core.results),
                  (select sum(field_size) from core.races where stage = 'result')"""
    ).fetchone()
    assert counts is not None
    assert len(set(counts)) == 1


def test_prices_are_one_per_runner_and_kind(core: duckdb.DuckDBPyConnection) -> None:
    assert (
        core.execute(
            "select runner_key from core.prices group by runner_key, price_kind having count(*) > 1"
        ).fetchall()
        == []
    )


@pytest.mark.parametrize("nothing", ["0", "-5", "nan"])
def test_a_distance_of_nothing_is_unknown(tmp_path: Path, nothing: str) -> None:
    root = DataRoot(tmp_path)
    root.raceform.mkdir()
    later = {**row(dist=""), **LATER, "dist_m": nothing, "dist_f": ""}
    del later["sp"], later["wgt"], later["race_id"]
    (root.raceform / "d.csv").write_text(csv_text([later], list(later)), encoding="utf-8")
    (root.raceform / "e.csv").write_text(csv_text([row(off="7:10", dist="", race_id="S1")]), encoding="utf-8")
    with duckdb.connect() as connection:
        connection.execute("create schema core")
        register(connection)
        land(root, connection, today=date(2026, 1, 1))
        assert connection.execute("select severity, reason, detail from landing.rejects").fetchall() == [
            ("field", "unreadable_dist_m", nothing)
        ]
        # A sidecar as it landed before such a distance was rejected.
        connection.execute(
            "create or replace view landing.sectionals as select 'S1' as race_id, 'Gala Casino Star (IRE)' as horse, "
            "0.0 as distance_m, null as rail, 1 as sequence, 1 as line_number"
        )
        build_table(connection, "core/races", START, END)
        distances = connection.execute("select distance_m, distance_furlongs from core.races").fetchall()
    assert distances == [(None, None), (None, None)]


def test_rebuilding_a_window_changes_nothing(core: duckdb.DuckDBPyConnection) -> None:
    before = core.execute("select * from core.prices order by all").fetchall()
    build_table(core, "core/prices", date(2015, 1, 1), date(2015, 12, 31))
    assert core.execute("select * from core.prices order by all").fetchall() == before


def build(root: DataRoot, files: dict[str, list[dict[str, str]]]) -> list[tuple[Any, ...]]:
    """Land the files one by one in their order and return what core makes of them."""
    root.raceform.mkdir(parents=True)
    connection = duckdb.connect()
    connection.execute("create schema core")
    register(connection)
    for name, rows in files.items():
        (root.raceform / name).write_text(csv_text(rows), encoding="utf-8")
        land(root, connection, today=date(2026, 1, 1))
    for table in TABLES[:4]:
        build_table(connection, table, START, END)
    found = connection.execute(
        """select entries.* exclude (source_file), results.* exclude (source_file), prices.* exclude (source)
           from core.entries join core.results using (runner_key)
           left join core.prices on prices.runner_key = entries.runner_key order by all"""
    ).fetchall()
    connection.close()
    return found


def test_landing_order_of_different_races_does_not_matter(tmp_path: Path) -> None:
    files = {"a.csv": DEAD_HEAT, "b.csv": ODD_PRICES}
    forwards = build(DataRoot(tmp_path / "forwards"), files)
    backwards = build(DataRoot(tmp_path / "backwards"), dict(reversed(files.items())))
    assert len(forwards) == 13
    assert forwards == backwards


def stream(*prices: tuple[int, float]) -> str:
    """An exchange stream of the 14:30 at Ascot: minutes before the off, and the price at which Alpha traded."""
    definition = {
        "status": "OPEN", "marketTime": "2025-06-01T13:30:00.000Z", "timezone": "Europe/London", "venue": "Ascot",
        "countryCode": "GB", "eventId": "7", "marketType": "WIN", "numberOfWinners": 1,
        "runners": [{"id": 1, "status": "ACTIVE", "name": "Alpha"}],
    }  # fmt: skip
    off = int(datetime(2025, 6, 1, 13, 30, tzinfo=UTC).timestamp() * 1000)
    changes: list[tuple[int, dict[str, Any]]] = [(60, {"marketDefinition": definition})]
    changes += [(minutes, {"rc": [{"id": 1, "ltp": price}]}) for minutes, price in prices]
    return "".join(
        json.dumps({"op": "mcm", "pt": off - minutes * 60_000, "mc": [{"id": "1.5", **change}]}) + "\n"
        for minutes, change in changes
    )


def test_of_two_versions_of_an_exchange_file_the_one_landed_last_sets_the_price(tmp_path: Path) -> None:
    def priced(horse: str, bsp: str, result: str) -> str:
        return betfair.row(
            len(horse), horse, bsp, result, day="2025-06-01", clock="2025-06-01 23:30:00", course="Ascot"
        )

    root = DataRoot(tmp_path)
    for folder in (root.raceform, root.betfair_sp, root.betfair_streams):
        folder.mkdir()
    results = [
        card_result("14:30", "Alpha"),
        card_result("14:30", "Beta", pos="2"),
        card_result("14:30", "Gam", pos="3"),
    ]
    (root.raceform / "a.csv").write_text(csv_text(results), encoding="utf-8")
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        register(connection)
        for schema in ("core", "meta"):
            connection.execute(f"create schema {schema}")
        first = [("Alpha", "3.0", "1.0"), ("Beta", "2.0", "0.0"), ("Gam", "9.0", "0.0")]
        betfair.write(root.betfair_sp, *(priced(*values) for values in first), name="b.csv")
        (root.betfair_streams / "b.jsonl").write_text(stream((40, 3.0), (20, 3.2)))
        land(root, connection)
        # Names that come first do not win, and a horse taken out since has no price.
        later = [("Alpha", "4.4", "1.0"), ("Beta", "", "-1.0")]
        betfair.write(root.betfair_sp, *(priced(*values) for values in later), name="a.csv")
        (root.betfair_streams / "a.jsonl").write_text(stream((40, 3.0), (20, 3.2), (7, 5.0), (2, 6.0)))
        land(root, connection)
        for name in ("core/races", "core/entries", "core/prices"):
            build_table(connection, name, START, END)
        prices = connection.execute(
            "select horse, price_kind, decimal_odds from core.prices inner join core.entries using (runner_key) "
            "where price_kind in ('bsp', 'exchange_preoff') order by price_kind, horse"
        ).fetchall()
    assert prices == [("Alpha (GB)", "bsp", 4.4), ("Gam (GB)", "bsp", 9.0), ("Alpha (GB)", "exchange_preoff", 5.0)]
