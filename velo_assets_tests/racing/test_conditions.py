from __future__ import annotations

from velo_assets_tests.racing.macro_connection import call


def test_numbers() -> None:
    assert call("whole_number(value)", ["6", "6.0", "0", "-", "6.5", "-6", "", None]) == [
        6, 6, 0, None, None, None, None, None,
    ]  # fmt: skip
    assert call("saddle_number_of(value)", ["6.0", "1A", "0", "", "x", None]) == [6, 1, None, None, None, None]
    assert call("rating_of(value)", ["68", "181", "–", "-", "0", "775", None]) == [
        68,
        181,
        None,
        None,
        None,
        None,
        None,
    ]
    assert call("money_of(value)", ["312.65", "€8,280", "£1 000", "", "a cup", None]) == [
        312.65, 8280.0, 1000.0, None, None, None,
    ]  # fmt: skip


def test_class_and_bands() -> None:
    assert call("race_class_of(value)", ["Class 5", "class 1", "3", "Class 9", "Premier", None]) == [
        5, 1, 3, None, None, None,
    ]  # fmt: skip
    assert call("band_low(value)", ["0-70", "60-85", "", None]) == [0, 60, None, None]
    assert call("band_high(value)", ["0-70", "60-85", "x", None]) == [70, 85, None, None]
    assert call("age_low(value)", ["3yo+", "4-6yo", "2yo", "x", None]) == [3, 4, 2, None, None]
    assert call("age_high(value)", ["3yo+", "4-6yo", "2yo", "x", None]) == [None, 6, 2, None, None]


def test_type_from_the_name_where_the_2020_layout_leaves_it_blank() -> None:
    names = ["Maiden Hurdle", "Novices' Chase", "INH Flat Race", "Handicap", None]
    assert call("race_type_of(null, value)", names) == [
        "Hurdle", "Chase", "NH Flat", "Flat", "Flat",
    ]  # fmt: skip
    names = ["Chasemore Farm Fortune Stakes", "Purchase Stakes", "Spa Steeplechase"]
    assert call("race_type_of(null, value)", names) == ["Flat", "Flat", "Chase"]
    assert call("race_type_of(value, 'Chase Me Handicap')", ["Flat", "hurdle", "NH Flat"]) == [
        "Flat",
        "Hurdle",
        "NH Flat",
    ]
    assert call("race_code_of(value, 'all-weather')", ["Flat", "Hurdle", "Chase", "NH Flat"]) == [
        "all-weather", "hurdle", "chase", "bumper",
    ]  # fmt: skip


def test_handicaps_by_name() -> None:
    names = ["Betway Handicap", "Nursery", "H'cap Chase", "黃嶺讓賽", "Handicapped Stakes", "Novice Stakes"]
    assert call("is_handicap_name(value)", names) == [True, True, True, True, False, False]
