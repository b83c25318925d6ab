"""Why a row, or a field of a row, was not taken: the vocabulary of landing.rejects.

Here: reason codes and what each means. A row reject keeps the whole row out; a field reject keeps the runner in its
race (dropping it would break the race) with that one value null.
"""

from __future__ import annotations

ROW = "row"
FIELD = "field"

REASONS: dict[str, str] = {
    "broken_date": "the date is not a calendar date written YYYY-MM-DD",
    "before_first_year": "the date lies before the first year that is kept",
    "future_date": "the date lies in the future, where no result can be",
    "too_far_ahead": "the date lies over a year ahead, where no card can be",
    "missing_course": "no course",
    "missing_horse": "no horse",
    "repeated_header": "a header line inside the file",
    "too_few_columns": "fewer values than the header has columns",
    "too_many_columns": "more values than the header has columns",
    "unbalanced_quotes": "a quote is opened and never closed",
    "line_too_long": "a line longer than any row can be",
    "nul_bytes": "the line holds NUL bytes: the file is damaged there",
    "unreadable_line": "the line can't be read as CSV",
    "duplicate_row": "the same row again in the same file; one is kept",
    "duplicate_runner": "the same horse twice in one race with other values; the first is kept",
    "wrong_encoding": "the line is not UTF-8; read as Windows-1252",
    "unreadable_sp": "the starting price is not odds; price null",
    "unreadable_dec": "the decimal odds are not odds above 1; price null",
    "unreadable_pos": "unknown finishing code; outcome unknown",
    "unreadable_dist": "the distance can't be read; null",
    "unreadable_dist_m": "the distance in metres is no number above 0; null",
    "unreadable_dist_y": "the distance in yards is no number above 0; null",
    "unreadable_wgt": "the weight can't be read; null",
    "unreadable_lbs": "the weight in pounds can't be read; null",
    "unreadable_time": "the time can't be read; null",
    "unreadable_ovr_btn": "the lengths beaten can't be read; null",
    "unreadable_draw": "the stall can't be read; null",
    "unreadable_age": "the age can't be read; null",
    "unreadable_or": "the official rating can't be read; null",
    "unreadable_rpr": "the rating can't be read or is impossible; null",
    "unreadable_ts": "the speed rating can't be read or is impossible; null",
    "unreadable_prize": "the prize can't be read; null",
}
"""Reason code to sentence. Readers of other kinds add their own codes."""

KEPT = (
    *("wrong_encoding", "unreadable_bsp", "unreadable_result"),
    *("unreadable_calls", "unreadable_sections", "unreadable_race_times"),
    *("unreadable_distance_m", "unreadable_declared_weight_lb"),
)
"""Reason codes of sidecars and Betfair files whose row lands all the same: rejects of a field."""

UNREADABLE: dict[str, str] = {
    "sp": "sp_unreadable(value)",
    "dec": "decimal_odds_of(value) is null and dash_or_null(value) is not null",
    "pos": "outcome_of(value) = 'unknown' and text_or_null(value) is not null and trim(value) <> '0'",
    "dist": "distance_furlongs_of(value) is null and text_or_null(value) is not null",
    "dist_m": "measured_distance(value) is null and dash_or_null(value) is not null",
    "dist_y": "measured_distance(value) is null and dash_or_null(value) is not null",
    "wgt": "weight_lb_of(value) is null and dash_or_null(value) is not null",
    "lbs": "weight_lb_of(value) is null and dash_or_null(value) is not null",
    "time": "time_seconds_of(value) is null and dash_or_null(value) is not null",
    "ovr_btn": "lengths_of(value) is null and dash_or_null(value) is not null",
    "draw": "whole_number(value) is null and dash_or_null(value) is not null",
    "age": "whole_number(value) is null and dash_or_null(value) is not null",
    "or": "rating_of(value) is null and dash_or_null(value) is not null",
    "rpr": "rating_of(value) is null and dash_or_null(value) is not null",
    "ts": "rating_of(value) is null and dash_or_null(value) is not null",
    "prize": "money_of(value) is null and dash_or_null(value) is not null",
}
"""Column to the SQL condition, over `value`, that says its text can't be read."""
