from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from velo_assets.ingestion.parsed import LayoutError
from velo_assets.ingestion.racecards import RACECARDS_SCHEMA, read_racecards


def runner(name: str = "Saxon Land", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "region": "IRE",
        "number": 1,
        "draw": 4,
        "age": 5,
        "sex_code": "G",
        "lbs": 161,
        "headgear": "tb",
        "headgear_first": True,
        "jockey": "Rex Dingle",
        "trainer": "Syd Hosie",
        "ofr": 108,
        "rpr": 114,
        "ts": 87,
        "dob": "2021-04-04",
        "sire": "Getaway",
        "sire_region": "GER",
        "dam": "Reves Damour",
        "dam_region": "GB",
        "non_runner": False,
        **fields,
    }


def race(*runners: Any, **fields: Any) -> dict[str, Any]:
    return {
        "date": "2026-01-01",
        "course": "Southwell (AW)",
        "region": "GB",
        "off_time": "12:15",
        "race_id": 909553,
        "race_name": "Maiden Hurdle",
        "race_type": "Hurdle",
        "race_class": 2,
        "distance_round": "2m4½f",
        "distance_f": 20.5,
        "distance_y": 4456,
        "handicap": False,
        "rating_band": None,
        "pattern": "",
        "field_size": 7,
        "runners": list(runners),
        **fields,
    }


def write(folder: Path, cards: object, *, packed: bool = False) -> Path:
    path = folder / ("cards.json.gz" if packed else "cards.json")
    data = json.dumps(cards).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def card(*races: Any) -> dict[str, Any]:
    return {"GB": {"Southwell (AW)": {f"12:{number:02}": value for number, value in enumerate(races)}}}


@pytest.mark.parametrize("packed", [False, True])
def test_a_runner_becomes_a_row_with_its_race(tmp_path: Path, packed: bool) -> None:
    parsed = read_racecards(write(tmp_path, card(race(runner())), packed=packed))
    assert dict(parsed.rows.schema) == RACECARDS_SCHEMA
    row = parsed.rows.row(0, named=True)
    expected = {
        "race_date": date(2026, 1, 1),
        "region": "GB",
        "course": "Southwell (AW)",
        "off_text": "12:15",
        "race_id": "909553",
        "race_class": 2,
        "pattern": None,
        "rating_band": None,
        "distance_text": "2m4½f",
        "distance_furlongs": 20.5,
        "distance_yards": 4456,
        "is_handicap": False,
        "declared_runners": 7,
        "horse": "Saxon Land (IRE)",
        "horse_name": "Saxon Land",
        "foaling_date": date(2021, 4, 4),
        "stall": 4,
        "weight_lb": 161,
        "headgear": "tb",
        "headgear_first_time": True,
        "official_rating": 108,
        "card_rating": 114,
        "card_speed_rating": 87,
        "sire": "Getaway (GER)",
        "dam": "Reves Damour",
        "owner": None,
        "non_runner": False,
    }
    assert {name: row[name] for name in expected} == expected


def test_non_runners_land_flagged(tmp_path: Path) -> None:
    rows = read_racecards(write(tmp_path, card(race(runner("A"), runner("B", non_runner=True, jockey=""))))).rows
    assert rows.select("horse_name", "non_runner", "jockey").rows() == [("A", False, "Rex Dingle"), ("B", True, None)]


def test_a_withdrawal_told_in_the_jockeys_place_alone_is_one(tmp_path: Path) -> None:
    rows = read_racecards(write(tmp_path, card(race(runner("A"), runner("B", jockey="Non-Runner"))))).rows
    assert rows.select("horse_name", "non_runner", "jockey").rows() == [("A", False, "Rex Dingle"), ("B", True, None)]


def test_missing_and_odd_fields_are_null_never_zero(tmp_path: Path) -> None:
    odd = runner(
        "C",
        draw=0,
        ofr="-",
        rpr=True,
        ts=[],
        lbs="161",
        age=5.5,
        dob="04/04/2021",
        headgear_first="yes",
        number=10**400,
    )
    bare = {"name": "D"}
    rows = read_racecards(write(tmp_path, card(race(odd, bare, distance_f=0, distance_y="0")))).rows
    columns = ["stall", "official_rating", "card_rating", "card_speed_rating", "weight_lb", "age_years", "foaling_date"]
    assert rows.select(columns).rows() == [(None, None, None, None, 161, None, None), (None,) * 7]
    assert rows.select("distance_furlongs", "distance_yards").rows() == [(None, None)] * 2
    assert rows["headgear_first_time"].to_list() == [None, None]
    assert rows["saddle_number"].to_list() == [None, None]
    assert rows["horse"].to_list() == ["C (IRE)", "D"]
    assert rows["non_runner"].to_list() == [False, False]


def test_names_in_any_script_survive(tmp_path: Path) -> None:
    rows = read_racecards(write(tmp_path, card(race(runner("金瀛"), runner("half \ud800 pair", region="GB"))))).rows
    assert rows["horse"].to_list() == ["金瀛 (IRE)", "half ? pair"]


def test_the_outer_keys_stand_in_for_missing_race_fields(tmp_path: Path) -> None:
    bare = {"date": "2026-01-01", "runners": [runner()]}
    rows = read_racecards(write(tmp_path, {"IRE": {"Naas (IRE)": {"13:30": bare}}})).rows
    assert rows.select("region", "course", "off_text").row(0) == ("IRE", "Naas (IRE)", "13:30")


def test_bad_races_and_runners_are_rejected_and_the_others_land(tmp_path: Path) -> None:
    parsed = read_racecards(
        write(
            tmp_path,
            card(
                race(runner("A"), runner("A"), {"number": 3}, "not a runner"),
                race(runner("B"), date="01/01/2026"),
                {"date": "2026-01-01"},
                None,
            ),
        )
    )
    assert parsed.rows["horse_name"].to_list() == ["A"]
    assert parsed.rejects.select("reason", "detail").rows() == [
        ("duplicate_runner", "GB / Southwell (AW) / 12:00"),
        ("missing_horse", "GB / Southwell (AW) / 12:00"),
        ("broken_runner", "GB / Southwell (AW) / 12:00"),
        ("broken_date", "GB / Southwell (AW) / 12:01"),
        ("broken_race", "GB / Southwell (AW) / 12:02"),
        ("broken_race", "GB / Southwell (AW) / 12:03"),
    ]


def test_half_a_surrogate_pair_in_what_is_rejected_is_replaced(tmp_path: Path) -> None:
    rejects = read_racecards(write(tmp_path, {"GB \ud800": {"Ascot": {"14:00": "no race \ud800"}}})).rejects
    assert rejects.select("raw_text", "detail").rows() == [('"no race ?"', "GB ? / Ascot / 14:00")]


def test_an_empty_card_has_no_rows(tmp_path: Path) -> None:
    parsed = read_racecards(write(tmp_path, {}))
    assert parsed.rows.height == 0
    assert dict(parsed.rows.schema) == RACECARDS_SCHEMA


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b'{"GB": {"York": ', "not JSON: Expecting value in line 1, column 17"),
        (b"date,course\n2026-01-01,York\n", "not JSON"),
        (b"\x00\xff\xfe", "not UTF-8"),
        (b"[1, 2]", "the file holds a list"),
        (b'{"GB": [1]}', "region 'GB' holds a list"),
        (b'{"GB": {"York": 5}}', "course 'York' holds a int"),
        (gzip.compress(b'{"GB": {}}' * 1000, mtime=0)[:-12], "cut short"),
        (b"[" * 200_000, "nested|not JSON"),
    ],
)
def test_a_file_that_is_no_card_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad card.json"
    path.write_bytes(content)
    with pytest.raises(LayoutError, match=message):
        read_racecards(path)
