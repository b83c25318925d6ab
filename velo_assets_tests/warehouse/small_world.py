"""A small racing world written straight into core tables: two years, four races a day, a market mostly right."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb
import numpy as np
import polars as pl

from velo_assets.warehouse.connection import SCHEMAS
from velo_assets.warehouse.sql_table import build_order, load_table

FIRST, LAST = date(2020, 1, 1), date(2021, 12, 31)
RUNNERS = 8
HORSES, TRAINERS, JOCKEYS = 240, 24, 16


def write_core(connection: duckdb.DuckDBPyConnection, *, days: int = 90, races_a_day: int = 4, seed: int = 3) -> None:
    """Create the core tables of the world.

    Args:
        connection: an empty database.
        days: race days, spread over two years.
        races_a_day: races of each day.
        seed: of the dice.
    """
    for schema in SCHEMAS:
        connection.execute(f"create schema if not exists {schema}")
    rng = np.random.default_rng(seed)
    ability = rng.normal(0, 1, HORSES)
    span = (LAST - FIRST).days
    rows: list[dict[str, object]] = []
    for number in range(days):
        day = FIRST + timedelta(days=number * span // (days - 1))
        horses = rng.choice(HORSES, races_a_day * RUNNERS, replace=False)
        for race in range(races_a_day):
            field = horses[race * RUNNERS : (race + 1) * RUNNERS]
            performance = ability[field] + rng.gumbel(0, 0.8, RUNNERS)
            chance = np.exp(1.2 * ability[field] + rng.normal(0, 0.15, RUNNERS))
            odds = 1 / (1.15 * chance / chance.sum())
            order = np.argsort(-performance)
            place = np.empty(RUNNERS, dtype=int)
            place[order] = np.arange(1, RUNNERS + 1)
            gap = performance[order[0]] - performance
            seconds = 70 + 12 * (race % 2) + 0.2 * gap + rng.normal(0, 0.3)
            for i, horse in enumerate(field.tolist()):
                finished = not (place[i] == RUNNERS and rng.random() < 0.3)
                rows.append(
                    {
                        "race_date": day,
                        "race_key": number * 100 + race,
                        "runner_key": number * 10_000 + race * 100 + i,
                        "horse_key": horse,
                        "horse": f"Horse {horse}",
                        "trainer_key": horse % TRAINERS,
                        "trainer": f"Trainer {horse % TRAINERS}",
                        "jockey_key": int(rng.integers(JOCKEYS)),
                        "owner_key": horse % 60,
                        "owner": f"Owner {horse % 60}",
                        "sire": f"Sire {horse % 20}",
                        "dam": f"Dam {horse % 90}",
                        "damsire": f"Damsire {horse % 15}",
                        "saddle_number": i + 1,
                        "stall": int((i * 3 + number) % RUNNERS + 1),
                        "age_years": 3 + horse % 6,
                        "sex": "GFMC"[horse % 4],
                        "weight_lb": 120 + int(rng.integers(14)),
                        "official_rating": 60 + int(3 * ability[horse] + rng.integers(14)),
                        "body_weight_lb": 1000 + horse + int(rng.integers(20)),
                        "headgear_first_time": bool(rng.random() < 0.05),
                        "race": race,
                        "position": int(place[i]) if finished else None,
                        "outcome": "finished" if finished else "pulled up",
                        "won": int(place[i] == 1),
                        "win_share": float(place[i] == 1),
                        "beaten_lengths": float(5 * gap[i]) if finished else None,
                        "margin_lengths": float(gap[i]) if finished else None,
                        "time_seconds": float(seconds[i]) if finished else None,
                        "racing_post_rating": 70 + int(8 * performance[i]),
                        "top_speed": 60 + int(8 * performance[i] + rng.integers(6)),
                        "prize_won": float(max(0, 6000 - 1500 * place[i])),
                        "running_style": ("led", "prominent", "held up")[horse % 3],
                        "style_score": (1.0, 0.7, 0.2)[horse % 3],
                        "trouble": bool(rng.random() < 0.1),
                        "comment": "held up, never nearer",
                        "decimal_odds": float(odds[i]),
                        "book_percent": float((1 / odds).sum()),
                    }
                )
    world = pl.DataFrame(rows, infer_schema_length=None)
    _store(connection, world)


def build_features(connection: duckdb.DuckDBPyConnection) -> None:
    """Build every feature table over both years."""
    for name in build_order("features"):
        text = load_table(name).text
        window = {key: day for key, day in {"start": FIRST, "end": LAST}.items() if f"${key}" in text}
        connection.execute(f"create or replace table {name.replace('/', '.')} as {text}", window)


def _store(connection: duckdb.DuckDBPyConnection, world: pl.DataFrame) -> None:
    connection.register("world", world.to_arrow())
    connection.execute(
        """
        create table core.races as
        select distinct
            race_key, race_date, concat(race_date, ' Test ', race) as race_label,
            case race % 2 when 0 then 'Ascot' else 'York' end as course, 'GB' as country, 'turf' as surface,
            cast('14:00' as time) as off_time, '14:00' as off_text, 'r' || race_key as race_id, 'Race' as race_name,
            'Flat' as race_type, 'flat' as code, cast(1 + race as integer) as race_class,
            cast(null as varchar) as pattern,
            60 as rating_band_low, 80 + 5 * cast(race as integer) as rating_band_high, '3yo+' as age_band,
            3 as min_age_years, 9 as max_age_years, cast(null as varchar) as sex_restriction,
            case race % 2 when 0 then '6f' else '7f' end as distance_text,
            case race % 2 when 0 then 6.0 else 7.0 end as distance_furlongs,
            case race % 2 when 0 then 1200.0 else 1400.0 end as distance_m,
            'Good' as going, case when race_key % 3 = 0 then 'soft' else 'good' end as going_group,
            cast(race_key % 3 as double) as going_index, race <> 3 as is_handicap, 8 as declared_runners,
            8 as field_size,
            'A' as rail, 'result' as stage, 'world.csv' as source_file
        from world
        """
    )
    connection.execute(
        """
        create table core.entries as
        select
            runner_key, race_key, race_date, horse_key, horse, saddle_number, stall, age_years, sex, weight_lb,
            cast(null as varchar) as headgear, headgear_first_time, 'Jockey ' || jockey_key as jockey, jockey_key,
            trainer, trainer_key, owner, owner_key, official_rating, sire, dam, damsire, body_weight_lb,
            cast(null as integer) as card_rating, cast(null as integer) as card_speed_rating, 'result' as stage,
            'world.csv' as source_file
        from world
        """
    )
    connection.execute(
        """
        create table core.results as
        select
            runner_key, race_key, race_date, horse_key, position, outcome, won, win_share, 1 as dead_heat_runners,
            beaten_lengths, margin_lengths, time_seconds, racing_post_rating, top_speed, prize_won, running_style,
            style_score, trouble as trouble_slowly_away, trouble as trouble_hampered, trouble as trouble_short_of_room,
            trouble as trouble_wide, trouble as trouble_mistakes, false as has_jockey_or_steward_note, comment
        from world
        """
    )
    connection.execute(
        """
        create table core.prices as
        select
            runner_key, race_key, race_date, kind as price_kind, decimal_odds * factor as decimal_odds,
            cast(null as varchar) as favourite_mark, 'off' as known_at, book_percent / factor as book_percent,
            true as book_complete, 'GB' as jurisdiction, 'world.csv' as source
        from world, (values ('sp', 1.0), ('opening_show', 0.95)) as kinds(kind, factor)
        """
    )
    connection.execute(
        """
        create table core.sectionals as
        select
            runner_key, race_key, race_date, cast(call as integer) as call_number, 3 as calls,
            cast(least(8, 1 + (coalesce(position, 8) + call) % 8) as integer) as position_at_call,
            time_seconds / 3 as section_seconds,
            min(time_seconds) over (partition by race_key) * call / 3 + (race_key % 7) / 10.0 as leader_elapsed_seconds
        from world, range(1, 4) as t(call)
        """
    )
    connection.unregister("world")
