"""Planted leaks: the proof that the proofs catch what they are there for.

Each mutation takes a real SQL file (or a real fit) and plants one known leak in it. `catch` runs the defences on it and
names those that caught it. Run `python -m velo_assets.warehouse.mutations [warehouse.duckdb]` for the report; without a
warehouse only the static lint judges the SQL.

Belongs here: the leaks and who catches them. Does not belong here: the defences (lint.py, recompute.py,
availability.py, the guards of velo_assets/modelling).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import polars as pl

from velo_assets.warehouse.lint import lint_sql
from velo_assets.warehouse.outcome_proofs import permutation_of, tripwire_of
from velo_assets.warehouse.recompute import same_day, time_travel
from velo_assets.warehouse.sql_table import load_table


class MutationError(ValueError):
    """A mutation no longer fits the SQL that it mutates: adapt it."""


@dataclass(frozen=True)
class SqlMutation:
    """A leak planted in the SQL of a feature table.

    Attributes:
        name: the leak, in words.
        table: `features/...` that is mutated.
        plant: makes the leaky text from the real one.
    """

    name: str
    table: str
    plant: Callable[[str], str]

    def text(self) -> str:
        """The leaky SQL.

        Raises:
            MutationError: the real SQL has changed so that nothing is planted.
        """
        real = load_table(self.table).text
        leaky = self.plant(real)
        if leaky == real:
            raise MutationError(f"{self.name}: changes nothing in {self.table}.")
        return leaky


@dataclass(frozen=True)
class ModelMutation:
    """A leak planted on the side of the models.

    Attributes:
        name: the leak, in words.
        run: commits the leak and returns the defence that refused it, or None when nothing did.
    """

    name: str
    run: Callable[[], str | None]


@dataclass(frozen=True)
class Caught:
    """Who caught a planted leak.

    Attributes:
        name: the leak.
        where: file or fit.
        by: the defences that caught it, such as 'lint same-race' and 'T1 time travel'; empty when it got through.
        example: the first finding.
    """

    name: str
    where: str
    by: tuple[str, ...]
    example: str


OWN_RESULT = "left join core.results as own on own.runner_key = {row}.runner_key"
"""The same race's result, joined on the runner with no barrier."""


def column(name: str, expression: str, join: str = "") -> Callable[[str], str]:
    """A plant that makes an output column of another expression, over one more join of the final select.

    Args:
        name: output column.
        expression: SQL; `{row}` stands for the source of the final select.
        join: SQL of the join, with `{row}` too.
    """

    def plant(text: str) -> str:
        head, _, final = text.rpartition("\nselect\n")
        source = re.search(r"^from (\w+)$", final, re.MULTILINE)
        line = re.search(rf"^    \S.*?\b{name}(,?) -- ", final, re.MULTILINE)
        if source is None or line is None:
            raise MutationError(f"no final select with a column {name} from one source")
        row = source[1]
        final = final.replace(line[0], f"    {expression.format(row=row)} as {name}{line[1]} -- ", 1)
        if join:
            final = final.replace(source[0], f"{source[0]}\n{join.format(row=row)}", 1)
        return f"{head}\nselect\n{final}"

    return plant


def replaced(old: str, new: str) -> Callable[[str], str]:
    """A plant that replaces a piece of text wherever it stands; white space counts as one blank."""
    pattern = re.compile(r"\s+".join(re.escape(word) for word in old.split()))

    def plant(text: str) -> str:
        if not pattern.search(text):
            raise MutationError(f"{old!r} is not in the text")
        return pattern.sub(lambda match: new, text)

    return plant


_PAST = "core.results as past inner join core.entries as run on run.runner_key = past.runner_key"

SQL_MUTATIONS = (
    SqlMutation(
        "same-row Racing Post Rating",
        "features/form_curves",
        column("rpr_last", "own.racing_post_rating", OWN_RESULT),
    ),
    SqlMutation("same-row position", "features/form_curves", column("form_last", "own.position", OWN_RESULT)),
    SqlMutation(
        "same-row beaten lengths", "features/form_curves", column("lengths_last", "own.beaten_lengths", OWN_RESULT)
    ),
    SqlMutation("same-row speed rating", "features/form_curves", column("ts_last", "own.top_speed", OWN_RESULT)),
    SqlMutation(
        "same-row finishing time", "features/speed_figures", column("speed_last", "own.time_seconds", OWN_RESULT)
    ),
    SqlMutation(
        "prize money of the same race", "features/class_layoff", column("class_drop", "own.prize_won", OWN_RESULT)
    ),
    SqlMutation(
        "trouble in the same race's comment",
        "features/trouble",
        column("trouble_rate", "cast(own.trouble_hampered as integer)", OWN_RESULT),
    ),
    SqlMutation(
        "running style of the same race", "features/running_style", column("style_last", "own.style_score", OWN_RESULT)
    ),
    SqlMutation(
        "starting price of the same race",
        "features/market_history",
        column(
            "market_strength_last",
            "closing.decimal_odds",
            "left join core.prices as closing on closing.runner_key = {row}.runner_key and closing.price_kind = 'sp'",
        ),
    ),
    SqlMutation(
        "sectional of the same race",
        "features/speed_figures",
        column(
            "speed_last",
            "call.position_at_call",
            "left join core.sectionals as call on call.runner_key = {row}.runner_key and call.call_number = 1",
        ),
    ),
    SqlMutation(
        "mean rating of the race's own results",
        "features/form_curves",
        column("rpr_best", "avg(own.racing_post_rating) over (partition by {row}.race_key)", OWN_RESULT),
    ),
    SqlMutation(
        "strike rate as at the last date of the data",
        "features/trainer_velocity",
        column("trainer_sr_career", f"(select avg(past.won) from {_PAST} where run.trainer_key = {{row}}.trainer_key)"),
    ),
    SqlMutation(
        "strike rate up to and with the race day (<= for <)",
        "features/trainer_velocity",
        column(
            "trainer_sr_career",
            f"(select avg(past.won) from {_PAST} "
            "where run.trainer_key = {row}.trainer_key and past.race_date <= {row}.race_date)",
        ),
    ),
    SqlMutation(
        "target encoding of the trainer over all rows",
        "features/trainer_velocity",
        column("trainer_sr_career", "avg(own.won) over (partition by {row}.trainer_key)", OWN_RESULT),
    ),
    SqlMutation(
        "ROWS frame over a trainer's runs",
        "features/trainer_velocity",
        column(
            "trainer_sr_14d",
            "avg(own.won) over (partition by {row}.trainer_key order by {row}.race_date "
            "rows between 50 preceding and 1 preceding)",
            OWN_RESULT,
        ),
    ),
    SqlMutation(
        "lag over a trainer's runs",
        "features/trainer_velocity",
        column(
            "trainer_sr_14d",
            "lag(own.won) over (partition by {row}.trainer_key order by {row}.race_date)",
            OWN_RESULT,
        ),
    ),
    SqlMutation(
        "same-day window",
        "features/trainer_jockey",
        replaced("and 1 preceding", "and 0 preceding"),
    ),
    SqlMutation(
        "running totals with the race day's own (<= for <)",
        "features/trainer_velocity",
        replaced("yesterday.race_date < days.race_date", "yesterday.race_date <= days.race_date"),
    ),
    SqlMutation(
        "a counted frame that ends with the current row",
        "features/speed_figures",
        replaced(
            "rows between rows_730d preceding and 1 preceding", "rows between rows_730d preceding and current row"
        ),
    ),
    SqlMutation(
        "frame to the current row",
        "features/breeding",
        replaced("and 1 preceding", "and current row"),
    ),
    SqlMutation(
        "a single day's own runs counted as the day before's",
        "features/breeding",
        replaced("greatest(race_date,", "least(race_date,"),
    ),
    SqlMutation(
        "a par of the race's own day",
        "features/pars",
        replaced("range between 730 preceding and 1 preceding", "range between 730 preceding and current row"),
    ),
    SqlMutation(
        "a draw's slope up to the end of the day",
        "features/draw_slopes",
        replaced(
            "partition by trip order by race_date range between 730 preceding and 1 preceding",
            "partition by trip order by race_date range between 730 preceding and current row",
        ),
    ),
    SqlMutation(
        "what was known before a later ride",
        "features/intent_signals",
        column(
            "jockey_upgrade",
            "(select max(later.jockey_ability) from features.jockey_velocity as later inner join core.entries as run "
            "on run.runner_key = later.runner_key where run.jockey_key = {row}.jockey_key "
            "and later.race_date > {row}.race_date)",
        ),
    ),
    SqlMutation(
        "frame of following days",
        "features/class_layoff",
        replaced("range between 730 preceding and 1 preceding", "range between 730 preceding and 30 following"),
    ),
    SqlMutation(
        "rows of a look-back counted in following days",
        "features/market_history",
        replaced("range between 730 preceding and 1 preceding", "range between 730 preceding and 30 following"),
    ),
    SqlMutation(
        "dropped frame, the default ends with the day",
        "features/form_curves",
        replaced("rows between rows_730d preceding and 1 preceding", ""),
    ),
    SqlMutation(
        "dropped order, the whole partition",
        "features/form_curves",
        replaced("order by race_date rows between rows_730d preceding and 1 preceding", ""),
    ),
    SqlMutation("lead() for lag()", "features/form_curves", replaced("lag(", "lead(")),
    SqlMutation(
        "descending order",
        "features/breeding",
        replaced("order by race_date range", "order by race_date desc range"),
    ),
    SqlMutation(
        "whole-history draw bias",
        "features/bias_maps",
        column("draw_iv", f"(select avg(past.won) from {_PAST} where run.stall = {{row}}.stall_fifth + 1)"),
    ),
    SqlMutation(
        "shrinkage fitted with the year itself (<= for <)",
        "features/shrinkage",
        replaced("cells.race_date < years.race_date", "cells.season <= year(years.race_date)"),
    ),
    SqlMutation(
        "shrinkage fitted over all years",
        "features/shrinkage",
        replaced("cells.race_date < years.race_date", "cells.race_date is not null"),
    ),
    SqlMutation(
        "the race's own result by a pattern of column names",
        "features/form_curves",
        column("lengths_last", "coalesce(columns('^beaten_lengths$'), 0)", OWN_RESULT),
    ),
    SqlMutation(
        "strike rate up to the end of the year (a year on, a day back)",
        "features/trainer_velocity",
        column(
            "trainer_sr_career",
            f"(select avg(past.won) from {_PAST} where run.trainer_key = {{row}}.trainer_key "
            "and past.race_date + 1 < date_trunc('year', {row}.race_date) + interval 1 year)",
        ),
    ),
    SqlMutation(
        "ROWS frame over days that unnest has doubled",
        "features/trainer_velocity",
        column(
            "trainer_sr_14d",
            "(select max(framed.won) from (select trainer_key, race_date, max(won) over (partition by trainer_key "
            "order by race_date rows between 1 preceding and 1 preceding) as won from (select run.trainer_key, "
            "run.race_date, max(past.won) as won, unnest([1, 2]) as copy from core.entries as run "
            "left join core.results as past on past.runner_key = run.runner_key "
            "group by run.trainer_key, run.race_date) as doubled) as framed "
            "where framed.trainer_key = {row}.trainer_key and framed.race_date = {row}.race_date)",
        ),
    ),
    SqlMutation(
        "a day's windows joined to the wrong day",
        "features/jockey_velocity",
        replaced("rates.race_date = entries.race_date", "rates.race_date > entries.race_date"),
    ),
    SqlMutation(
        "grouped without the race date",
        "features/form_curves",
        column(
            "form_runs",
            "totals.runs",
            "left join (select run.horse_key, count(*) as runs from core.results as past "
            "inner join core.entries as run on run.runner_key = past.runner_key group by run.horse_key) as totals "
            "on totals.horse_key = {row}.horse_key",
        ),
    ),
    SqlMutation(
        "field size of past races, counted from the horses that run again",
        "features/form_curves",
        replaced(
            "inner join races on races.race_key = entries.race_key",
            "inner join (select races.race_key, count(*) as field_size, "
            "max(races.distance_furlongs) as distance_furlongs from races "
            "inner join entries as again on again.race_key = races.race_key group by races.race_key) as races "
            "on races.race_key = entries.race_key",
        ),
    ),
    SqlMutation(
        "entries of later days counted",
        "features/class_layoff",
        column("career_days", "count(*) over (partition by {row}.horse_key)"),
    ),
    SqlMutation(
        "only runners whose result has arrived",
        "features/race_shape",
        replaced(
            "from entries\ninner join races",
            "from entries inner join core.results as own on own.runner_key = entries.runner_key\ninner join races",
        ),
    ),
    SqlMutation(
        "whether the result has arrived, as a feature",
        "features/race_shape",
        column(
            "is_handicap",
            "cast(status.stage = 'result' as integer)",
            "inner join core.races as status on status.race_key = {row}.race_key",
        ),
    ),
)
"""Leaks in SQL; each must be caught by the lint or by a dynamic check."""


def model_mutations() -> tuple[ModelMutation, ...]:
    """Leaks on the side of the models, each on a small world in which the leak would pay."""
    return (
        ModelMutation("calibration fitted on the test fold", _calibrate_on_test),
        ModelMutation("blend fitted on the test fold", _blend_on_test),
        ModelMutation("fundamental model trained into the test fold", _train_on_test),
        ModelMutation("races split at random instead of by date", _split_at_random),
        ModelMutation("de-vig over a partial book", _devig_partial_book),
        ModelMutation("winners encoded before the split", _encode_before_split),
        ModelMutation("same-race rating beside the market", _rank_by_result),
        ModelMutation("body weight used the day before", _decide_too_early),
    )


def catch(mutation: SqlMutation, connection: duckdb.DuckDBPyConnection | None, dates: Sequence[date]) -> Caught:
    """Run the lint, and with a warehouse the dynamic checks, on a planted leak.

    Args:
        mutation: the leak.
        connection: a warehouse with all features built from the real SQL; None for the lint alone.
        dates: days for the dynamic checks.
    """
    text = mutation.text()
    findings = lint_sql(text, load_table(mutation.table).path.name)
    by = [f"lint {rule}" for rule in sorted({finding.rule for finding in findings})]
    example = str(findings[0]) if findings else ""
    if connection is not None:
        for check in (time_travel, same_day):
            result = check(connection, dates, (mutation.table,), texts={mutation.table: text}, rebuild_upstream=False)
            if not result.passed:
                by.append(result.name)
                example = example or result.differences[0]
    return Caught(mutation.name, mutation.table, tuple(by), example)


def report(connection: duckdb.DuckDBPyConnection | None = None, dates: Sequence[date] = ()) -> list[Caught]:
    """Commit every planted leak and list who caught it.

    Args:
        connection: a warehouse with features, for the dynamic checks; None for the lint alone.
        dates: days for the dynamic checks.
    """
    caught = [catch(mutation, connection, dates) for mutation in SQL_MUTATIONS]
    for planted in model_mutations():
        refused = planted.run()
        caught.append(Caught(planted.name, "modelling", (refused,) if refused else (), ""))
    return caught


def report_text(caught: Sequence[Caught]) -> str:
    """The report as a Markdown table."""
    lines = ["| planted leak | where | caught by |", "|---|---|---|"]
    lines += [f"| {c.name} | {c.where} | {', '.join(c.by) or 'NOBODY'} |" for c in caught]
    through = sum(not c.by for c in caught)
    return "\n".join(
        [*lines, "", f"{len(caught)} leaks planted, {len(caught) - through} caught, {through} got through."]
    )


def _small_world(days: int = 80, races_a_day: int = 5, runners: int = 8) -> pl.DataFrame:
    """Races with a market that is right, a rating only the result knows, and features that say nothing."""
    import numpy as np

    rng = np.random.default_rng(5)
    races = days * races_a_day
    strength = rng.normal(0, 1, (races, runners))
    chance = np.exp(strength) / np.exp(strength).sum(axis=1, keepdims=True)
    rating = strength + rng.gumbel(0, 1, (races, runners))
    won = (rating == rating.max(axis=1, keepdims=True)).astype(float)
    race = np.repeat(np.arange(races), runners)
    first = date(2020, 1, 1)
    return pl.DataFrame(
        {
            "race_date": [first + timedelta(days=int(r) // races_a_day) for r in race],
            "race_key": race,
            "runner_key": np.arange(races * runners),
            "win_share": won.ravel(),
            "market_probability": chance.ravel(),
            "score": np.log(chance).ravel(),
            "trainer": rng.integers(0, 600, races * runners),
            "stall": np.tile(np.arange(1.0, runners + 1), races),
            "racing_post_rating": rating.ravel(),
        }
    )


def _refusal(act: Callable[[], object]) -> str | None:
    """The guard that refused, by name."""
    from velo_assets.modelling.guards import LookAheadError

    try:
        act()
    except LookAheadError as error:
        return f"guard {type(error).__name__}"
    return None


def _calibrate_on_test() -> str | None:
    from velo_assets.modelling.calibration import fit_race_calibration

    return _refusal(lambda: fit_race_calibration(_small_world(), "market_probability", date(2020, 3, 1)))


def _blend_on_test() -> str | None:
    from velo_assets.modelling.blend import fit_blend

    return _refusal(lambda: fit_blend(_small_world(), date(2020, 3, 1)))


def _train_on_test() -> str | None:
    from velo_assets.modelling.fundamental import fit_fundamental

    return _refusal(lambda: fit_fundamental(_small_world(), ["stall"], date(2020, 3, 1)))


def _split_at_random() -> str | None:
    from velo_assets.modelling.fundamental import fit_fundamental

    world = _small_world()
    train = world.filter(pl.col("race_key").hash(seed=3) % 10 < 7)
    test = world.join(train, on="runner_key", how="anti")
    cutoff = test["race_date"].min()
    assert isinstance(cutoff, date)
    return _refusal(lambda: fit_fundamental(train, ["stall"], cutoff))


def _devig_partial_book() -> str | None:
    import numpy as np

    from velo_assets.modelling.market import METHODS, devig

    # Only the winner is priced: normalised alone, it would be certain.
    odds = np.array([3.0, np.nan, np.nan, 2.0, 4.0, 4.0])
    starts = np.array([0, 3])
    for method in METHODS:
        probability = devig(odds, starts, method)
        if not np.isnan(probability[:3]).all() or not np.isclose(probability[3:].sum(), 1.0):
            return None
    return "guard of full books (devig)"


def _encode_before_split() -> str | None:
    from velo_assets.warehouse.outcome_proofs import deal

    shuffled = deal(_small_world().select("race_key", "runner_key", "race_date", "trainer", "win_share"), seed=3)
    encoded = shuffled.with_columns(pl.col("win_share").mean().over("trainer").alias("trainer_rate"))
    result = permutation_of(encoded, ["trainer_rate"])
    return None if result.passed else result.name


def _rank_by_result() -> str | None:
    world = _small_world().with_columns((pl.col("win_share") > 0).cast(pl.Int64).alias("won"))
    result = tripwire_of(world.drop("win_share", "score", "trainer", "stall"), won="won", market="market_probability")
    return None if result.passed else result.name


def _decide_too_early() -> str | None:
    from velo_assets.warehouse.availability import Known, LateColumnError, assert_matrix_available

    try:
        assert_matrix_available(["body_weight_lb"], Known.DECLARATION, table="features/weight_rating")
    except LateColumnError as error:
        return f"contract {type(error).__name__}"
    return None


def main(arguments: Sequence[str]) -> int:
    """Print the report; 0 when every planted leak was caught."""
    if not arguments:
        caught = report()
    else:
        from velo_assets.racing.macros import register
        from velo_assets.warehouse.recompute import sample_dates

        with duckdb.connect(arguments[0], read_only=True) as connection:
            register(connection)
            caught = report(connection, sample_dates(connection, 1))
    sys.stdout.write(report_text(caught) + "\n")
    return int(any(not c.by for c in caught))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
