"""Cards to predictions: reads the cards of a day, prices them by champion and challengers, stores each version once.

Belongs here: the frame a card is priced from, predictions of every serving model, the table serving.predictions. Does
not belong here: the models (bundle), the log and its outcomes (prediction_log), the page (card_page).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from velo_assets.modelling.races import KEYS
from velo_assets.serving.bundle import Bundle, load_bundle
from velo_assets.warehouse.build import ensure_table, table_exists, transaction
from velo_assets.warehouse.export import matrix_features
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import Declared, described_columns

if TYPE_CHECKING:
    from velo_assets.modelling.registry import ModelRegistry, RegisteredModel

PRICES_BEFORE_THE_OFF = ("exchange_preoff", "forecast")
"""Price kinds a card may be priced with, the later and sharper first. SP, BSP, opening show and touched prices reach us
with the result only."""

PREDICTIONS = "serving/predictions"

TYPES: Declared = {
    "race_date": ("date", "day of the race", ""),
    "race_key": ("bigint", "race", ""),
    "runner_key": ("bigint", "runner", ""),
    "horse_key": ("bigint", "horse", ""),
    "model_name": ("varchar", "registered name of the model", ""),
    "model_version": ("integer", "its version", ""),
    "is_champion": ("boolean", "the serving version; others predict in its shadow", ""),
    "card_version": ("varchar", "hash of runners, jockeys, going and kind of price that the prediction was shown", ""),
    "predicted_at": ("timestamptz", "when it was made", ""),
    "request_id": ("varchar", "one per race, model version and card version", ""),
    "fundamental_probability": ("double", "win probability without any price of the race", "probability"),
    "expert_probability": ("double", "market corrected by the experts; null without a full book", "probability"),
    "blend_probability": ("double", "Benter's blend; null without a full book", "probability"),
    "fair_probability": ("double", "win probability that the model stands for", "probability"),
    "fair_odds": ("double", "its inverse", "decimal odds"),
    "basis": (
        "varchar",
        "what the fair probability rests on: blend, experts, or fundamental where no full book was known",
        "",
    ),
    "market_probability": ("double", "market used, margin taken out; null without a full book", "probability"),
    "market_odds": ("double", "price known when predicting", "decimal odds"),
    "price_kind": ("varchar", "kind of that price", ""),
    "price_known_at": ("varchar", "when such a price is known: morning or off", ""),
    "edge": ("double", "fair probability times market odds, less 1: expected return of a unit stake", "per unit"),
    "regime": ("varchar", "price regime of the odds", ""),
    "reliability": ("double", "share of the experts' correction that is believed", "0-1"),
    "tie_offset": ("double", "intent: log-odds on top of the market", "log-odds"),
    "nds_offset": ("double", "disruption: log-odds on top of the market, negative = over-bet", "log-odds"),
    "sqpe_above": ("boolean", "fundamental probability above the market", ""),
    "tie_above": ("boolean", "intent above the market", ""),
    "nds_above": ("boolean", "disruption above the market", ""),
    "modules_above": ("integer", "how many of the three", "modules"),
    "contributions": (
        "varchar",
        "JSON: log-odds of each feature family against the race's mean, fundamental model",
        "log-odds",
    ),
    "features_known": ("double", "share of the model's features that have a value", "0-1"),
}
"""Column of serving.predictions to DuckDB type, description and unit."""

PREDICTION_COLUMNS = described_columns(TYPES)
"""Columns of serving.predictions as the assets describe them."""


class NoModelError(RuntimeError):
    """There is nothing to predict with."""


@dataclass(frozen=True, eq=False)
class ServingModel:
    """A registered version, loaded.

    Attributes:
        name: registered name.
        version: its number.
        is_champion: whether it serves; otherwise it runs in the shadow.
        bundle: the models.
    """

    name: str
    version: int
    is_champion: bool
    bundle: Bundle


def serving_models(registry: ModelRegistry, name: str) -> list[ServingModel]:
    """The champion first, then the challenger.

    Before the gate has passed any version the challenger predicts alone, and nothing is called champion.

    Args:
        registry: the model registry.
        name: registered name of the recipe.

    Raises:
        NoModelError: no version is champion or challenger.
        HashMismatchError: a file is not the registered one.
    """
    if not registry.exists():
        raise NoModelError(f"there is no model registry at {registry.database}; train and register {name} first")
    registered = [registry.champion(name), registry.challenger(name)]
    models: dict[int, RegisteredModel] = {model.version: model for model in registered if model is not None}
    if not models:
        raise NoModelError(f"{name} has neither champion nor challenger; train and register one first")
    champion = registered[0]
    return [
        ServingModel(
            name, version, champion is not None and champion.version == version, _loaded(registry, name, version)
        )
        for version in models
    ]


def readable(
    connection: duckdb.DuckDBPyConnection, models: Sequence[ServingModel]
) -> tuple[list[ServingModel], dict[str, list[str]]]:
    """Versions that today's feature matrix suffices for, and what it lacks for the others.

    A feature may be taken out of the matrix while a version that learned from it still is champion: that version falls
    silent, and the night goes on with the others.

    Args:
        connection: an open warehouse with the feature matrix.
        models: from `serving_models`.

    Returns:
        The versions that can predict, in their order, and the missing columns of each other one by its label.
    """
    there = set(matrix_features(connection))
    lacking = {
        f"{model.name} {model.version}": missing
        for model in models
        if (missing := [name for name in model.bundle.features if name not in there])
    }
    return [model for model in models if f"{model.name} {model.version}" not in lacking], lacking


@lru_cache(maxsize=8)
def _loaded(registry: ModelRegistry, name: str, version: int) -> Bundle:
    """A version's files never change, so a process reads them once."""
    return load_bundle(registry.load_files(name, version))


def card_frame(
    connection: duckdb.DuckDBPyConnection, race_dates: Sequence[date], *, stages: Sequence[str] = ("card",)
) -> pl.DataFrame:
    """Runners of the given days with race, entry, features and the best price known before the off.

    Args:
        connection: an open warehouse.
        race_dates: days.
        stages: `card` for races without a result, `result` for past ones.

    Returns:
        A row per runner, sorted by keys: race and entry columns, features as Float32, `decimal_odds`,
        `market_probability` (null unless the book is full), `price_kind`, `price_known_at`, `card_version`. Empty when
        nobody races.

    Raises:
        ValueError: a runner has no row in the matrix: the features of its day are not built.
    """
    features = ", ".join(f'matrix."{name}"::float as "feature:{name}"' for name in matrix_features(connection))
    frame = frame_of(
        connection,
        f"""
        select
            entries.race_date, entries.race_key, entries.runner_key, entries.horse_key, entries.horse,
            entries.saddle_number, entries.stall, entries.age_years, entries.sex, entries.weight_lb, entries.headgear,
            entries.headgear_first_time, entries.jockey, entries.jockey_key, entries.trainer, entries.trainer_key,
            entries.official_rating, races.race_label, races.course, races.country, races.off_time, races.off_text,
            races.race_name, races.code, races.distance_text, races.distance_furlongs, races.going, races.race_class,
            races.stage, matrix.runner_key is null as unbuilt, {features}
        from core.entries
        inner join core.races using (race_date, race_key)
        left join features.runner_features as matrix using (race_date, runner_key)
        where entries.race_date in (select unnest($days::date[])) and races.stage in (select unnest($stages::varchar[]))
        order by entries.race_date, entries.race_key, entries.runner_key
        """,
        {"days": list(race_dates), "stages": list(stages)},
    )
    unbuilt = frame.filter("unbuilt")["race_date"].unique().sort()
    if len(unbuilt):
        # Priced from nulls it would pass for a horse that nobody knows, and a card version is priced once.
        raise ValueError(
            f"The features of {', '.join(map(str, unbuilt))} are not built for every runner of the card: "
            "`velo run --to features` builds them."
        )
    frame = frame.drop("unbuilt")
    renamed = {name: name.removeprefix("feature:") for name in frame.columns if name.startswith("feature:")}
    # A feature that is also a column of races or entries (weight_lb, say) keeps its own name: models read it under it.
    doubled = [plain for plain in renamed.values() if plain in frame.columns]
    frame = frame.rename({name: f"card_{name}" for name in doubled}).rename(renamed)
    return _with_card_version(
        frame.join(_prices(connection, race_dates), on="runner_key", how="left", maintain_order="left")
    )


def predict_cards(
    connection: duckdb.DuckDBPyConnection,
    models: Sequence[ServingModel],
    race_dates: Iterable[date],
    now: datetime,
    *,
    stages: Sequence[str] = ("card",),
) -> pl.DataFrame:
    """Price the cards of some days with every serving model.

    Args:
        connection: an open warehouse with features built for the days.
        models: from `serving_models`.
        race_dates: days.
        now: with its zone; written beside every prediction.
        stages: `card` for races without a result only.

    Returns:
        Rows of serving.predictions, not yet stored; empty when nobody races.

    Raises:
        LookAheadError: a race lies before a model's cutoff.
        MissingFeatureError: the warehouse lacks a feature that a model reads.
        ValueError: the time has no zone, or the features of a day are not built.
    """
    if now.tzinfo is None:
        raise ValueError("predict_cards: give the time with its zone; local times repeat when clocks go back")
    frame = card_frame(connection, sorted(set(race_dates)), stages=stages)
    predictions = [predict_frame(model, frame, now) for model in models]
    return pl.concat(predictions) if predictions else _empty()


def predict_frame(model: ServingModel, frame: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Rows of serving.predictions of one model.

    Args:
        model: the model.
        frame: from `card_frame`.
        now: with its zone.
    """
    from velo_assets.modelling.explain import explain

    if frame.is_empty():
        return _empty()
    bundle = model.bundle
    priced = bundle.predict(frame)
    families = explain(bundle.fundamental, frame, bundle.families).by_family().drop(KEYS)
    contributions = [json.dumps({name: round(value, 4) for name, value in row.items()}) for row in families.to_dicts()]
    known = pl.mean_horizontal(pl.col(name).is_not_null() & pl.col(name).is_not_nan() for name in bundle.features)
    rows = pl.concat(
        (
            frame.select(
                "horse_key",
                "card_version",
                "market_probability",
                pl.col("decimal_odds").alias("market_odds"),
                "price_kind",
                "price_known_at",
                known.alias("features_known"),
            ),
            priced,
            pl.DataFrame({"contributions": contributions}),
        ),
        how="horizontal",
    )
    request = pl.concat_str(
        "race_key", pl.lit(model.name), pl.lit(str(model.version)), "card_version", separator="|"
    ).map_elements(lambda text: hashlib.sha256(text.encode()).hexdigest()[:16], return_dtype=pl.String)
    return rows.with_columns(
        pl.lit(model.name).alias("model_name"),
        pl.lit(model.version, dtype=pl.Int32).alias("model_version"),
        pl.lit(model.is_champion).alias("is_champion"),
        pl.lit(now.astimezone(UTC), dtype=pl.Datetime("us", "UTC")).alias("predicted_at"),
        request.alias("request_id"),
        (1.0 / pl.col("fair_probability")).alias("fair_odds"),
        (pl.col("fair_probability") * pl.col("market_odds") - 1.0).alias("edge"),
    ).select(list(TYPES))


def store_predictions(connection: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> pl.DataFrame:
    """Append predictions of races, models and card versions not stored before; nothing is ever changed.

    Args:
        connection: an open warehouse.
        rows: from `predict_cards`.

    Returns:
        The rows that were new.
    """
    with transaction(connection):
        ensure_table(connection, PREDICTIONS, TYPES)
        stored = frame_of(connection, "select distinct request_id from serving.predictions")
        new = rows.join(stored, on="request_id", how="anti", maintain_order="left")
        if new.height:
            connection.register("new_predictions", new.to_arrow())
            try:
                connection.execute("insert into serving.predictions by name select * from new_predictions")
            finally:
                connection.unregister("new_predictions")
    return new


def latest_predictions(connection: duckdb.DuckDBPyConnection, race_dates: Sequence[date]) -> pl.DataFrame:
    """The last prediction of each race by each model version.

    Args:
        connection: an open warehouse.
        race_dates: days.

    Returns:
        Rows of serving.predictions, sorted by keys; empty when nothing was predicted.
    """
    if not table_exists(connection, PREDICTIONS):
        return _empty()
    found = frame_of(
        connection,
        """
        select * from serving.predictions
        where race_date in (select unnest($days::date[]))
        qualify predicted_at = max(predicted_at) over (partition by race_key, model_name, model_version)
        order by race_date, race_key, runner_key, is_champion desc, model_version
        """,
        {"days": list(race_dates)},
    )
    # DuckDB hands times over in the zone of the machine.
    return found.with_columns(pl.col("predicted_at").dt.convert_time_zone("UTC"))


def card_days(connection: duckdb.DuckDBPyConnection, since: date = date.min) -> list[date]:
    """Days from `since` on with races that wait for their result.

    Once a later day has results none is awaited, as `serving.prediction_outcomes` has it: an abandoned race keeps its
    card for ever, and would be priced and its page written every night.
    """
    rows = connection.execute(
        """
        select distinct race_date from core.races
        where stage = 'card' and race_date >= $since
            and race_date >= coalesce((select max(race_date) from core.results), $since)
        order by race_date
        """,
        {"since": since},
    ).fetchall()
    return [row[0] for row in rows]


def _prices(connection: duckdb.DuckDBPyConnection, race_dates: Sequence[date]) -> pl.DataFrame:
    """The best price kind of each race among those known before the off: a full book first, then the later kind."""
    schema = pl.Schema(
        {
            "runner_key": pl.Int64(),
            "decimal_odds": pl.Float64(),
            "market_probability": pl.Float64(),
            "price_kind": pl.String(),
            "price_known_at": pl.String(),
        }
    )
    if not table_exists(connection, "market/probabilities"):
        return pl.DataFrame(schema=schema)
    return frame_of(
        connection,
        """
        with ranked as (
            select
                market.race_key, market.runner_key, market.decimal_odds, market.price_kind,
                case when market.book_complete then market.probability end as market_probability,
                prices.known_at as price_known_at,
                rank() over (
                    partition by market.race_key
                    order by market.book_complete desc, list_position($kinds::varchar[], market.price_kind)
                ) as place
            from market.probabilities as market
            inner join core.prices using (race_date, runner_key, price_kind)
            where market.race_date in (select unnest($days::date[]))
                and market.price_kind in (select unnest($kinds::varchar[]))
        )
        select runner_key, decimal_odds, market_probability, price_kind, price_known_at from ranked where place = 1
        """,
        {"days": list(race_dates), "kinds": list(PRICES_BEFORE_THE_OFF)},
    ).cast(schema)


def _with_card_version(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the hash of what each race's card says: runners, jockeys, going, and the kind of price known."""
    if frame.is_empty():
        return frame.with_columns(pl.lit(None, dtype=pl.String).alias("card_version"))
    shown = frame.select(
        "race_key",
        pl.concat_str(
            pl.col("runner_key"),
            *(pl.col(name).cast(pl.String).fill_null("-") for name in ("jockey_key", "going", "price_kind")),
            separator="|",
        ).alias("line"),
    )
    versions = (
        shown.group_by("race_key")
        .agg(pl.col("line").sort().str.join("\n"))
        .with_columns(
            pl.col("line")
            .map_elements(lambda text: hashlib.sha256(text.encode()).hexdigest()[:12], return_dtype=pl.String)
            .alias("card_version")
        )
    )
    return frame.join(versions.drop("line"), on="race_key", how="left", maintain_order="left")


def _empty() -> pl.DataFrame:
    types = {
        "date": pl.Date(),
        "bigint": pl.Int64(),
        "integer": pl.Int32(),
        "varchar": pl.String(),
        "boolean": pl.Boolean(),
        "double": pl.Float64(),
        "timestamptz": pl.Datetime("us", "UTC"),
    }
    return pl.DataFrame(schema={name: types[kind] for name, (kind, _, _) in TYPES.items()})
