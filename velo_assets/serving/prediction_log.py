"""The prediction log: what was said before each race, as JSON lines and as a table, and what became of it.

Belongs here: writing the log of stored predictions, joining results to it later without rewriting a line, the
predictions to be judged after the race. Does not belong here: judging (monitoring.evaluation).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from velo_assets.reports.pages import write_page
from velo_assets.serving.predict import PREDICTIONS
from velo_assets.warehouse.build import comment_columns, ensure_table, table_exists, transaction
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import Column, Declared, described_columns

LOG = "serving/prediction_log"
OUTCOMES = "serving/prediction_outcomes"

LOG_TYPES: Declared = {
    "timestamp": ("timestamptz", "when the prediction was made", ""),
    "request_id": ("varchar", "one per race, model version and card version", ""),
    "race_id": ("bigint", "race; race_key of the other tables", ""),
    "horse_id": ("bigint", "horse; horse_key of the other tables", ""),
    "model_name": ("varchar", "registered name of the model", ""),
    "model_version": ("integer", "its version", ""),
    "is_champion": ("boolean", "the serving version; others predict in its shadow", ""),
    "sqpe_prob": ("double", "win probability of the fundamental model, without any price of the race", "probability"),
    "tie_intent": ("double", "intent: log-odds on top of the market", "log-odds"),
    "final_prob": ("double", "win probability that the model stands for", "probability"),
    "result_position": ("integer", "null for ever: the result is in serving.prediction_outcomes", ""),
    "won": ("integer", "null for ever: likewise", ""),
}
"""Field of the log to DuckDB type, description and unit. The last two are null when a line is written, and stay so: see
`serving.prediction_outcomes`."""


OUTCOME_COLUMNS = (
    *described_columns(LOG_TYPES)[:-2],
    Column("race_date", "day of the race", ""),
    Column("result_position", "position past the post; null for non-finishers and without a result", ""),
    Column("won", "1 = won, alone or in a dead heat; null without a result", ""),
    Column("win_share", "part of the win: 1 won, 1/n in a dead heat of n, 0 lost; null without a result", "0-1"),
    Column("outcome", "settled, non-runner, void, no result or awaited", ""),
)


def log_predictions(connection: duckdb.DuckDBPyConnection, folder: Path) -> list[Path]:
    """Append the stored predictions that the log lacks, and bring the JSON lines of their days (UTC) up to it.

    What a killed process stored and did not log, or logged and did not write, is made up for. A file is written from
    the table as a whole and swapped in; as the table only grows, so does the file.

    Args:
        connection: an open warehouse.
        folder: where `YYYY-MM-DD.jsonl` goes, one file per day of prediction.

    Returns:
        Files written.
    """
    if not table_exists(connection, PREDICTIONS):
        return []
    with transaction(connection):
        ensure_table(connection, LOG, LOG_TYPES)
        added = connection.execute(
            """
            insert into serving.prediction_log by name
            select
                predicted_at as timestamp, request_id, race_key as race_id, horse_key as horse_id, model_name,
                model_version, is_champion, fundamental_probability as sqpe_prob, tie_offset as tie_intent,
                fair_probability as final_prob, null as result_position, null as won
            from serving.predictions
            where request_id not in (select request_id from serving.prediction_log)
            returning (timestamp at time zone 'UTC')::date
            """
        ).fetchall()
    # Files are written in the order of their days: those before the newest are whole.
    newest = max((path.stem for path in folder.glob("*.jsonl")), default=date.min.isoformat())
    unwritten = connection.execute(
        "select distinct (timestamp at time zone 'UTC')::date as day from serving.prediction_log where day >= ?",
        [date.fromisoformat(newest)],
    ).fetchall()
    return [_write_lines(connection, folder, day) for (day,) in sorted({*added, *unwritten})]


def keep_log(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Bring log, JSON lines and outcomes up to the stored predictions: see `log_predictions` and `create_outcomes`."""
    log_predictions(connection, folder)
    create_outcomes(connection)


def create_outcomes(connection: duckdb.DuckDBPyConnection) -> None:
    """(Re)create the view serving.prediction_outcomes: the log with each horse's result beside it.

    `outcome` is `settled`, `non-runner` (the race ran without the horse), `void` (the race's win shares don't sum to
    1), `no result` (a later day has results, this race has none: abandoned, or its results are missing) or `awaited`.
    """
    ensure_table(connection, LOG, LOG_TYPES)
    connection.execute(
        """
        create or replace view serving.prediction_outcomes as
        with races as (
            select race_key, sum(win_share) as settled from core.results group by race_key
        ),
        days as (
            select request_id, any_value(race_date) as race_date from serving.predictions group by request_id
        )
        select
            log.* exclude (result_position, won),
            days.race_date,
            results.position as result_position,
            results.won,
            results.win_share,
            case
                when races.race_key is not null and abs(races.settled - 1) >= 1e-6 then 'void'
                when results.runner_key is not null then 'settled'
                when races.race_key is not null then 'non-runner'
                when days.race_date < (select max(race_date) from core.results) then 'no result'
                else 'awaited'
            end as outcome
        from serving.prediction_log as log
        inner join days on days.request_id = log.request_id
        left join races on races.race_key = log.race_id
        left join core.results as results on results.race_key = log.race_id and results.horse_key = log.horse_id
        """
    )
    comment_columns(connection, OUTCOMES, OUTCOME_COLUMNS)


def served_predictions(
    connection: duckdb.DuckDBPyConnection, price_kind: str, since: date | None = None
) -> pl.DataFrame:
    """The last prediction before the result of each race, beside the closing market, ready to be judged.

    Horses withdrawn since are left out and the others' probabilities scaled up to 1 again, as a bet on the remaining
    field would be settled; a race that gained a runner after its last prediction is left out: nothing was said of it.

    Args:
        connection: an open warehouse.
        price_kind: market to compare with.
        since: first race day.

    Returns:
        race_date, race_key, runner_key, fold (year), model_name, model_version, is_champion, model_probability,
        fundamental_probability, basis, odds_taken (price known when predicting), closing_odds, sqpe_above, tie_above,
        nds_above, market_probability: what `monitoring.evaluation.evaluate_races` reads.
    """
    if not table_exists(connection, "serving/predictions"):
        return pl.DataFrame()
    return frame_of(
        connection,
        """
        with last as (
            select * from serving.predictions
            where race_date >= $since
            qualify predicted_at = max(predicted_at) over (partition by race_key, model_name, model_version)
        ),
        ran as (
            select race_key, count(*) as runners from core.results group by race_key
        ),
        joined as (
            select
                last.*, ran.runners,
                sum(last.fair_probability) over race_of_model as fair_total,
                sum(last.fundamental_probability) over race_of_model as fundamental_total,
                count(*) over race_of_model as predicted
            from last
            inner join core.results using (race_key, horse_key)
            inner join ran using (race_key)
            window race_of_model as (partition by last.race_key, last.model_name, last.model_version)
        )
        select
            joined.race_date, joined.race_key, joined.runner_key, year(joined.race_date)::integer as fold,
            joined.model_name, joined.model_version, joined.is_champion,
            joined.fair_probability / joined.fair_total as model_probability,
            joined.fundamental_probability / joined.fundamental_total as fundamental_probability,
            joined.basis, joined.market_odds as odds_taken, market.decimal_odds as closing_odds,
            joined.sqpe_above, joined.tie_above, joined.nds_above, market.probability as market_probability
        from joined
        left join market.probabilities as market
            on market.runner_key = joined.runner_key and market.price_kind = $price_kind
        where joined.predicted = joined.runners
        order by joined.race_date, joined.race_key, joined.runner_key, joined.model_version
        """,
        {"since": since or date.min, "price_kind": price_kind},
    )


def _write_lines(connection: duckdb.DuckDBPyConnection, folder: Path, day: date) -> Path:
    rows = frame_of(
        connection,
        """
        select * from serving.prediction_log
        where (timestamp at time zone 'UTC')::date = $day
        order by timestamp, race_id, model_version, final_prob desc, horse_id
        """,
        {"day": day},
    )
    stamped = rows.with_columns(
        pl.col("timestamp").dt.convert_time_zone("UTC").dt.to_string("%Y-%m-%dT%H:%M:%S%.6f+00:00")
    )
    return write_page(folder / f"{day.isoformat()}.jsonl", stamped.write_ndjson())
