"""The lint passes what ends before the race day and refuses everything else, whatever it looks like."""

import pytest

from velo_assets.warehouse.lint import RULES, lint_sql, lint_tables

DAYS = """with days as (
    select entries.trainer_key, entries.race_date, sum(results.won) as wins
    from core.entries as entries
    left join core.results as results on results.runner_key = entries.runner_key
    group by entries.trainer_key, entries.race_date
)
"""
RUNS = """with runs as (
    select entries.race_date, entries.race_key, entries.runner_key, entries.trainer_key, results.won
    from core.entries as entries
    left join core.results as results on results.runner_key = entries.runner_key
)
"""
STRICT = "range between interval 30 day preceding and interval 1 day preceding"


def rules(sql: str) -> set[str]:
    return {finding.rule for finding in lint_sql(sql, "leaky.sql")}


def over_days(window: str, value: str = "sum(wins)") -> str:
    return f"{DAYS}select race_date, trainer_key, {value} over ({window}) as wins from days"


def past(condition: str, columns: str = "avg(past.won)") -> str:
    return f"""
        select e.race_date, e.runner_key, {columns} as rate
        from core.entries as e
        left join core.entries as run on run.horse_key = e.horse_key
        left join core.results as past on past.runner_key = run.runner_key
        where {condition}
        group by e.race_date, e.runner_key"""


def test_the_sql_of_the_house_is_clean() -> None:
    assert [str(finding) for finding in lint_tables()] == []


def by_trainer(frame: str, value: str = "sum(wins)") -> str:
    return over_days(f"partition by trainer_key order by race_date {frame}", value)


def entries_with(columns: str, join: str = "") -> str:
    return f"select e.race_date, e.runner_key, {columns} as value from core.entries as e {join}"


RESULT = "core.results as r"
RESULT_OF_HORSE = f"{RESULT} where r.horse_key = e.horse_key"
FITTED = "with fitted as (select avg(won) as rate from core.results where race_date {bound}) "
FROM_FITTED = "select e.race_date, f.rate from core.entries as e, fitted as f where e.race_date between $start and $end"
TOTALS = "left join (select horse_key, count(*) as n from core.results group by horse_key) as t using (horse_key)"
GAIN = "official_rating - lag(official_rating) over (partition by horse_key order by race_date)"
LAST_DAYS = (
    "left join (select {columns}, max(race_date) as last_date, sum(won) as wins from core.results group by {columns}) "
    "as t on t.horse_key = e.horse_key"
)
ROWS = "rows between 9 preceding and 1 preceding"

CLEAN = {
    "range frame": by_trainer(STRICT),
    "range frame in whole days": by_trainer("range between 30 preceding and 1 preceding"),
    "range frame over all": over_days(f"order by race_date {STRICT}"),
    "a week earlier": by_trainer("range between unbounded preceding and interval 7 day preceding"),
    "rows frame over days": by_trainer("rows between 5 preceding and 1 preceding"),
    "lag over days": by_trainer("", "lag(wins, 2)"),
    "named": f"{DAYS}select race_date, sum(wins) over w as n from days window w as (order by race_date {STRICT})",
    "join on earlier days": past("run.race_date < e.race_date"),
    "join on days less one": past("run.race_date <= e.race_date - interval 1 day"),
    "join on days between": past("e.race_date - run.race_date between 1 and 90"),
    "join on a difference": past("date_diff('day', run.race_date, e.race_date) > 0"),
    "join on earlier years": past("year(run.race_date) < year(e.race_date)"),
    "cells of whole seasons": entries_with(
        "t.wins",
        LAST_DAYS.format(columns="horse_key, year(race_date)") + " and t.last_date < date_trunc('year', e.race_date)",
    ),
    "join on a month back": past("run.race_date < e.race_date - interval 1 month"),
    "join on a month ahead": past("run.race_date + interval 1 month <= e.race_date"),
    "join on quarters within a year": past("run.race_date + interval 12 month < e.race_date + interval 4 quarter"),
    "join on the first of the year": past("run.race_date < date_trunc('year', e.race_date)"),
    "declared weights in a race": "select race_date, weight_lb - avg(weight_lb) over (partition by race_key) as w "
    "from core.entries",
    "declared rating of the last run": f"select race_date, {GAIN} as gain from core.entries",
    "subquery over earlier days": entries_with(
        f"(select avg(r.won) from {RESULT_OF_HORSE} and r.race_date < e.race_date)"
    ),
    "as-of join": entries_with(
        "r.won", f"asof left join {RESULT} on r.horse_key = e.horse_key and e.race_date > r.race_date"
    ),
    "fitted before the window": FITTED.format(bound="< $start") + FROM_FITTED,
}


@pytest.mark.parametrize("sql", CLEAN.values(), ids=CLEAN)
def test_earlier_days_pass(sql: str) -> None:
    assert lint_sql(sql, "clean.sql") == []


LEAKY = {
    "default frame": (by_trainer(""), "same-day-window"),
    "current row": (by_trainer("range between interval 9 day preceding and current row"), "same-day-window"),
    "zero days": (by_trainer("range between unbounded preceding and interval 0 day preceding"), "same-day-window"),
    "zero whole days": (by_trainer("range between 30 preceding and 0 preceding"), "same-day-window"),
    "half of a whole day": (by_trainer("range between 30 preceding and 0.5 preceding"), "same-day-window"),
    "half a day": (by_trainer("range between unbounded preceding and interval 12 hour preceding"), "same-day-window"),
    "following": (
        by_trainer("range between interval 1 day preceding and interval 1 day following"),
        "whole-history",
    ),
    "minus one day": (by_trainer("range between unbounded preceding and interval -1 day preceding"), "same-day-window"),
    "descending": (by_trainer(f"desc {STRICT}"), "whole-history"),
    "whole partition": (over_days("partition by trainer_key"), "whole-history"),
    "ordered by a result": (over_days(f"partition by trainer_key order by wins {STRICT}"), "whole-history"),
    "lead": (by_trainer("", "lead(wins)"), "whole-history"),
    "lag by nothing": (by_trainer("", "lag(wins, 0)"), "whole-history"),
    "lag backwards": (by_trainer("", "lag(wins, -1)"), "whole-history"),
    "no window at all": (f"{DAYS}select race_date, wins from days", "same-race"),
    "rows frame over runs": (
        f"{RUNS}select race_date, sum(won) over (partition by trainer_key order by race_date {ROWS}) as w from runs",
        "rows-window",
    ),
    "lag over runs": (
        f"{RUNS}select race_date, lag(won) over (partition by trainer_key order by race_date) as w from runs",
        "rows-window",
    ),
    "mean of the race": (f"{RUNS}select race_date, avg(won) over (partition by race_key) as w from runs", "same-race"),
    "mean of everything": (f"{RUNS}select race_date, avg(won) over () as w from runs", "whole-history"),
    "winners only": (f"{RUNS}select race_date, trainer_key from runs where won = 1", "row-selection"),
    "ordered by result": (
        f"{RUNS}select race_date from runs qualify row_number() over (partition by race_key order by won) = 1",
        "row-selection",
    ),
    "join up to the day": (past("run.race_date <= e.race_date"), "same-race"),
    "join to the next day": (past("run.race_date < e.race_date + interval 1 day"), "same-race"),
    "join with a way round": (past("run.race_date < e.race_date or run.stall = 1"), "unbounded-date"),
    "join with not": (past("not (run.race_date >= e.race_date)"), "unbounded-date"),
    "join without a date": (past("true"), "unbounded-date"),
    "join up to the year": (past("year(run.race_date) <= year(e.race_date)"), "unbounded-date"),
    "join before the end": (past("run.race_date < $end"), "unbounded-date"),
    "join from today": (past("e.race_date - run.race_date between 0 and 90"), "unbounded-date"),
    "own result": (entries_with("r.won", f"left join {RESULT} using (runner_key)"), "same-race"),
    "own price": (
        entries_with("p.decimal_odds", "left join core.prices as p using (runner_key)"),
        "row-selection",
    ),
    "subquery over all": (entries_with("(select avg(r.won) from core.results as r)"), "unbounded-date"),
    "whether it ever ran": (entries_with(f"exists (select 1 from {RESULT_OF_HORSE})"), "unbounded-date"),
    "totals of all time": (entries_with("t.n", TOTALS), "unbounded-date"),
    "fitted on the window": (FITTED.format(bound="<= $end") + FROM_FITTED, "unbounded-date"),
    "whether it is a result": ("select race_date, stage = 'result' as known from core.races", "same-race"),
    "later entries": (
        "select race_date, count(*) over (partition by horse_key) as career from core.entries",
        "whole-history",
    ),
    "limit": ("select race_date, stall from core.entries limit 5", "whole-history"),
    "offset": (
        "with e as (select race_date, stall from core.entries order by stall offset 3) select race_date, stall from e",
        "whole-history",
    ),
    "limit of a union": (
        "(select race_date, stall from core.entries union all select race_date, stall from core.entries) limit 5",
        "whole-history",
    ),
    "columns() in an expression": (
        entries_with(
            "coalesce(columns('won'), 0)",
            "left join (select runner_key, won from core.results) as r on r.runner_key = e.runner_key",
        ),
        "unsupported",
    ),
    "a star that is filtered": (
        f"with r as (select * from core.results) {entries_with('1')} left join r using (runner_key)".replace(
            "1 as value", "* like 'won'"
        ),
        "unsupported",
    ),
    "days that make up for a year": (
        past("run.race_date + 1 < date_trunc('year', e.race_date) + interval 1 year"),
        "unbounded-date",
    ),
    "days that make up for a month": (
        past("run.race_date - 30 < e.race_date - interval 1 month"),
        "unbounded-date",
    ),
    "days added to a month back": (past("run.race_date < e.race_date - interval 1 month + 31"), "unbounded-date"),
    "years before the end of this one": (
        entries_with(
            "(select count(*) from core.races as c where c.race_date < date_trunc('year', e.race_date) "
            "+ interval 1 year)"
        ),
        "unbounded-date",
    ),
    "rows multiplied under a frame of rows": (
        DAYS.rstrip() + ", twice as (select *, unnest([1, 2]) as copy from days) "
        f"select race_date, sum(wins) over (partition by trainer_key order by race_date {ROWS}) as n from twice",
        "rows-window",
    ),
    "no race date": ("select runner_key, stall from core.entries", "race-date"),
    "later race date": ("select race_date + 1 as race_date, stall from core.entries", "race-date"),
    "recursion": ("with recursive r as (select 1 as a) select a as race_date from r", "unsupported"),
    "pivot": ("select race_date from core.entries pivot (count(*) for stall in (1, 2))", "unsupported"),
    "no SQL": ("select from where", "unsupported"),
    "last day of all": (
        entries_with(
            "t.wins",
            LAST_DAYS.format(columns="horse_key") + " and t.last_date < e.race_date",
        ),
        "unbounded-date",
    ),
    "last day of the season": (
        entries_with(
            "t.wins",
            LAST_DAYS.format(columns="horse_key, year(race_date)") + " and t.last_date < e.race_date",
        ),
        "unbounded-date",
    ),
    "a question put to the outer row": (
        entries_with(
            "(select count(*) from core.races as c where c.race_date >= e.race_date and c.race_date < $start), r.won",
            "left join core.results as r using (runner_key, race_date) where e.race_date >= $start",
        ),
        "same-race",
    ),
    "frame added to a named window": (
        DAYS + "select race_date, sum(wins) over (w rows between current row and unbounded following) as n from days "
        "window w as (partition by trainer_key order by race_date)",
        "whole-history",
    ),
    "distinct on": (
        f"{RUNS}select distinct on (trainer_key) race_date, trainer_key from runs order by won",
        "whole-history",
    ),
    "first row of a named window": (
        (
            f"{RUNS}, firsts as (select race_date, trainer_key, won from runs qualify row_number() over w = 1 "
            "window w as (partition by runner_key order by race_date)) "
            f"select race_date, sum(won) over (partition by trainer_key order by race_date {ROWS}) as n from firsts"
        ),
        "rows-window",
    ),
    "rows of a frame counted in later days": (
        DAYS.rstrip() + ", counted as (select *, sum(wins) over (partition by trainer_key order by race_date "
        "range between current row and interval 30 day following) as rows_ahead from days) "
        "select race_date, sum(wins) over (partition by trainer_key order by race_date "
        "rows between rows_ahead preceding and 1 preceding) as n from counted",
        "whole-history",
    ),
}


@pytest.mark.parametrize(("sql", "rule"), LEAKY.values(), ids=LEAKY)
def test_everything_else_is_refused(sql: str, rule: str) -> None:
    found = rules(sql)
    assert rule in found
    assert found <= RULES.keys()


def test_a_finding_names_file_line_column_and_reason() -> None:
    sql = f"{DAYS}select\n    race_date,\n    sum(wins) over (order by race_date) as wins\nfrom days"
    (finding,) = lint_sql(sql, "features/leaky.sql")
    assert (finding.path, finding.line) == ("features/leaky.sql", 9)
    assert "column wins" in finding.message
    assert "core.results.won" in finding.message
    assert "without a frame" in finding.message


def test_a_union_keeps_the_day_of_both_sides() -> None:
    union = """with cells as (
        select 'a' as kind, race_date, won from core.results
        union all select 'b', race_date, position from core.results)
        select e.race_date, sum(c.won) as won from core.entries as e
        inner join cells as c on c.race_date {operator} e.race_date group by e.race_date, e.runner_key"""
    assert rules(union.format(operator="<")) == set()
    assert rules(union.format(operator="<=")) == {"same-race", "row-selection"}


def test_two_references_to_a_cte_are_different_rows() -> None:
    sql = f"""{RUNS}
        select a.race_date, a.runner_key, sum(b.won) as wins
        from runs as a left join runs as b on b.trainer_key = a.trainer_key and b.race_date < a.race_date
        group by a.race_date, a.runner_key"""
    assert rules(sql) == set()
    assert "same-race" in rules(sql.replace("sum(b.won)", "sum(a.won)"))


def test_horses_of_the_window_may_not_be_mixed() -> None:
    sql = """with window_horses as (
            select distinct horse_key from core.entries
            where race_date >= cast($start as date) and race_date <= cast($end as date)),
        runs as (
            select race_date, runner_key, horse_key, trainer_key, won from core.entries
            left join core.results using (runner_key, race_date, horse_key)
            where race_date <= $end and horse_key in (select horse_key from window_horses)),
        days as (select {key}, race_date, sum(won) as won from runs group by {key}, race_date)
        select race_date, sum(won) over (partition by {key} order by race_date
            range between interval 9 day preceding and interval 1 day preceding) as wins from days"""
    assert rules(sql.format(key="horse_key")) == set()
    # A trainer's record over only those horses that run again is a record of survivors.
    assert "window-keys" in rules(sql.format(key="trainer_key"))
    shorter = sql.format(key="horse_key").replace("race_date >= cast($start as date) and", "stall = 1 and")
    assert rules(shorter) != set()


WINDOW_TRAINERS = """with window_trainers as (
        select distinct trainer_key from core.entries
        where race_date >= cast($start as date) and race_date <= cast($end as date)),
    runs as (
        select race_date, race_key, runner_key, horse_key, trainer_key from core.entries
        where race_date >= cast($start as date) - 730 and race_date <= cast($end as date)),
    stable as (select * from runs where trainer_key in (select trainer_key from window_trainers)),
    days as (select trainer_key, race_date, count(*) as runners from stable group by trainer_key, race_date)"""


def test_a_past_race_is_not_whole_in_the_runs_of_the_window() -> None:
    sql = f"""{WINDOW_TRAINERS},
        races as (select race_key, count(*) as runners from stable group by race_key),
        joined as (
            select runs.race_date, runs.runner_key, runs.horse_key, races.runners
            from runs left join races on races.race_key = runs.race_key)
        select race_date, runner_key, {{column}} as column
        from joined where race_date >= cast($start as date)"""
    # Of a race of the window itself every runner is there.
    assert rules(sql.format(column="runners")) == set()
    assert (
        rules(
            sql.replace("select race_key, count(*)", "select race_date, race_key, count(*)")
            .replace("group by race_key)", "group by race_date, race_key)")
            .format(column="runners")
        )
        == set()
    )
    # How many of its last race's runners run again is news from the future.
    last = "max(runners) over (partition by horse_key order by race_date range between 365 preceding and 1 preceding)"
    assert rules(sql.format(column=last)) == {"window-keys"}


def test_what_is_whole_for_the_window_is_not_asked_for_others() -> None:
    sql = f"""{WINDOW_TRAINERS},
        lasts as (
            select *, max(runner_key) over before as last_runner_key
            from runs
            window before as (partition by horse_key order by race_date range between 365 preceding and 1 preceding))
        select today.race_date, today.runner_key, days.runners
        from lasts as today
        left join runs as last on last.runner_key = today.last_runner_key and last.race_date < today.race_date
        left join days on days.trainer_key = {{asks}}.trainer_key and days.race_date = last.race_date
        where today.race_date >= cast($start as date)"""
    assert rules(sql.format(asks="today")) == set()
    # Whether the last run's trainer has runners in the window is news from the future.
    assert rules(sql.format(asks="last")) == {"window-keys"}
    # An inner join to the trainer of today makes it the same trainer.
    assert (
        rules(
            sql.format(asks="last")
            .replace(
                "last.race_date < today.race_date",
                "last.race_date < today.race_date and last.trainer_key = today.trainer_key",
            )
            .replace("left join runs", "inner join runs")
        )
        == set()
    )


def test_a_left_join_proves_nothing_of_rows_that_find_nobody() -> None:
    sql = f"""{WINDOW_TRAINERS}
        select days.race_date, days.runners
        from days {{join}} join runs as today
            on today.trainer_key = days.trainer_key and today.race_date >= cast($start as date)
            and today.race_date > days.race_date
        where today.race_date > days.race_date"""
    assert "window-keys" not in rules(sql.format(join="inner"))
    outer = f"""{WINDOW_TRAINERS},
        past as (select days.race_date, days.runners, today.trainer_key
            from days {{join}} join runs as today
                on today.trainer_key = days.trainer_key and today.race_date = days.race_date),
        met as (select race_date, sum(runners) as runners from past group by race_date)
        select race_date, sum(runners) over (order by race_date range between 365 preceding and 1 preceding) as runners
        from met"""
    assert rules(outer.format(join="left")) == rules(outer.format(join="inner")) == {"window-keys"}


def test_a_union_keeps_what_its_rows_are_restricted_to() -> None:
    sql = f"""{WINDOW_TRAINERS},
        both as (
            select race_date, trainer_key, runners from days
            union all
            select race_date, trainer_key, 1 as runners from runs)
        select race_date, sum(runners) over (
            partition by {{key}} order by race_date range between 365 preceding and 1 preceding) as runners
        from both"""
    assert rules(sql.format(key="trainer_key")) == set()
    assert rules(sql.format(key="runners")) == {"window-keys"}
    # Rows of the window alone are all there.
    assert rules(f"{sql.format(key='runners')} where race_date >= cast($start as date)") == set()


SINGLE_DAY = "race_date = cast($start as date) and cast($start as date) = cast($end as date)"
CHOSEN_PAST = f"""with day_runners as (select trainer_key, horse_key from core.entries where {SINGLE_DAY}),
    runs as (
        select e.race_date, e.runner_key, e.horse_key, r.won
        from core.entries as e left join core.results as r on r.runner_key = e.runner_key
        where e.race_date <= cast($end as date)
            and (cast($start as date) < cast($end as date) or e.trainer_key in (select trainer_key from day_runners))),
    windows as (
        select race_date, runner_key, sum(won) over (
            partition by horse_key order by race_date range between 365 preceding and 1 preceding) as wins
        from runs)
    select race_date, wins from windows where race_date >= cast($start as date)"""


def test_who_runs_on_the_single_day_of_a_window_may_choose_the_past() -> None:
    assert rules(CHOSEN_PAST) == set()
    # And those whom they have met.
    own = f"select horse_key from core.entries where {SINGLE_DAY}"
    races = f"select race_key from core.entries where race_date < $start and horse_key in ({own})"
    assert rules(CHOSEN_PAST.replace(SINGLE_DAY, f"race_date < $start and race_key in ({races})")) == set()


@pytest.mark.parametrize(
    "whose",
    [
        "race_date >= cast($start as date) and race_date <= cast($end as date)",
        "race_date = cast($end as date)",
        "race_date = cast($start as date) + 1",
        "cast($start as date) = cast($end as date)",
    ],
)
def test_who_runs_later_than_the_first_day_of_a_window_may_not(whose: str) -> None:
    assert rules(CHOSEN_PAST.replace(SINGLE_DAY, whose)) & {"unbounded-date", "window-keys"}


def test_results_of_the_day_may_not_choose_the_past_either() -> None:
    winners = f"{SINGLE_DAY} and runner_key in (select runner_key from core.results where won = 1)"
    assert "row-selection" in rules(CHOSEN_PAST.replace(SINGLE_DAY, winners))


@pytest.mark.parametrize(
    "between", ["race_date >= $end and race_date <= $start", "race_date = $start and race_date = $end", "$start = $end"]
)
@pytest.mark.parametrize(
    ("asked", "join"),
    [
        ("e.race_date in (select race_date from marker)", ""),
        ("marker.runner_key", "left join marker on marker.race_date = e.race_date"),
    ],
)
def test_rows_that_need_not_be_there_prove_nothing_of_others(between: str, asked: str, join: str) -> None:
    sql = f"""with marker as (select race_date, runner_key from core.entries where {between}),
        rate as (select avg(won) as rate from core.results where race_date < $end)
        select e.race_date, rate.rate, {asked} as marked
        from core.entries as e cross join rate {join} where e.race_date between $start and $end"""
    assert "unbounded-date" in rules(sql)
    assert "unbounded-date" not in rules(sql.replace("race_date < $end)", "race_date < $start)"))


def test_a_day_may_be_moved_later_and_not_earlier() -> None:
    sql = f"""{DAYS.rstrip()[:-1]}),
        moved as (
            select trainer_key, wins, greatest(race_date, case when $start = $end then $start - 1 end) as race_date
            from days),
        counted as (select trainer_key, race_date, sum(wins) as wins from moved group by trainer_key, race_date),
        windows as (select trainer_key, race_date, sum(wins) over (partition by trainer_key order by race_date
            range between 365 preceding and 1 preceding) as wins from counted)
        select e.race_date, windows.wins
        from core.entries as e
        left join windows on windows.trainer_key = e.trainer_key and windows.race_date = e.race_date"""
    assert rules(sql) == set()
    assert rules(sql.replace("greatest(", "least(")) != set()
    # A day less one may be before the day itself.
    assert rules(sql.replace("greatest(race_date,", "greatest(race_date - 1,")) != set()
    assert rules(sql.replace("and windows.race_date = e.race_date", "and windows.race_date > e.race_date")) != set()
