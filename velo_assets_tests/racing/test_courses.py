from __future__ import annotations

import pytest

from velo_assets_tests.racing.macro_connection import call

COURSES = {
    "Aintree": ("Aintree", "GB", False),
    "Kempton (AW)": ("Kempton", "GB", True),
    "kempton-aw": ("Kempton", "GB", True),
    "Dundalk (AW) (IRE)": ("Dundalk", "IRE", True),
    "Sha Tin (AW) (HK)": ("Sha Tin", "HK", True),
    "Longchamp (FR)": ("Longchamp", "FR", False),
    "down-royal": ("Down Royal", "IRE", False),
    "Newmarket (July)": ("Newmarket (July)", "GB", False),
    "Wexford (RH) (IRE)": ("Wexford (RH)", "IRE", False),
}


@pytest.mark.parametrize("course", COURSES)
def test_name_country_and_surface(course: str) -> None:
    found = [call(f"{macro}", [course])[0] for macro in ("course_name(value)", "course_country(value, null)")]
    assert (*found, call("course_is_all_weather(value)", [course])[0]) == COURSES[course]


def test_region_decides_where_the_name_does_not() -> None:
    assert call("course_country(value, 'fr')", ["Deauville"]) == ["FR"]
    assert call("course_country(value, 'IE')", ["Naas"]) == ["IRE"]
    assert call("course_country(value, 'GB')", ["Longchamp (FR)"]) == ["FR"]
    assert call("course_country(value, '')", ["Ascot"]) == ["GB"]
