from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets_tests.racing.macro_connection import call


def test_missing_is_by_field() -> None:
    texts = ["x", " x ", "", "  ", "-", "–", "0", None]
    assert call("text_or_null(value)", texts) == ["x", "x", None, None, "-", "–", "0", None]
    assert call("dash_or_null(value)", texts) == ["x", "x", None, None, None, None, "0", None]


def test_keys_forgive_case_accents_and_punctuation_only() -> None:
    same = ["David O'Meara", "DAVID OMEARA", "David  O’Meara", "Dávid O'Meara"]
    assert len(set(call("label_key(value)", same))) == 1
    others = ["D O'Meara", "Mr David O'Meara", "David O'Meara Jr"]
    assert len(set(call("label_key(value)", [*others, same[0]]))) == 4
    assert call("label_key(value)", ["", "  ", None]) == [None, None, None]


def test_horse_key_takes_gb_for_no_suffix_and_keeps_other_countries() -> None:
    names = ["Never Dark (GB)", "Never Dark", "Never Dark (IRE)"]
    keys = call("horse_key_of(value, 'Dam GB', 3, date '2020-06-03')", names)
    assert keys[0] == keys[1] != keys[2]
    dams = call("horse_key_of('Never Dark', value, 3, date '2020-06-03')", ["Dam GB", "Dam (GB)", "Dam", "Dam (IRE)"])
    assert len(set(dams[:3])) == 1
    assert dams[3] != dams[0]


def test_two_horses_of_one_name_differ_by_dam_or_foaling_year() -> None:
    first, second = call("horse_key_of('The Trader (IRE)', value, 3, date '2015-05-01')", ["Dam A", "Dam B"])
    assert first != second
    older, younger = call("horse_key_of('The Trader (IRE)', '', value::integer, date '2015-05-01')", ["3", "9"])
    assert older != younger
    next_year = call("horse_key_of('The Trader (IRE)', '', value::integer, date '2016-05-01')", ["4"])
    assert next_year == [older]


def test_names_of_any_script_have_keys() -> None:
    keys = call("horse_key_of(value, null, null, date '2016-01-01')", ["金瀛 (P072)", "通勝 (S246)", "Łysy", "محمد"])
    assert len(set(keys)) == 4
    assert all(key >= 0 for key in keys)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=30), min_size=1))
def test_text_key_is_stable_under_itself(texts: list[str]) -> None:
    once = call("text_key(value)", texts)
    assert call("text_key(value)", once) == once


def test_race_key_is_date_course_and_off() -> None:
    base = "race_key_of(date '2015-04-26', value, null, '5:45', '1', 'A')"
    kempton = call(base, ["Kempton (AW)", "kempton-aw", "Kempton"])
    assert len(set(kempton)) == 1
    other_day = call(base.replace("04-26", "04-27"), ["Kempton"])
    other_off = call(base.replace("5:45", "5:15"), ["Kempton"])
    twenty_four = call(base.replace("5:45", "17:45"), ["Kempton"])
    assert len({kempton[0], other_day[0], other_off[0]}) == 3
    assert twenty_four[0] == kempton[0]
