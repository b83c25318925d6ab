"""A few literal races in core tables, and the feature tables built from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb

from velo_assets.warehouse.build import build_table
from velo_assets.warehouse.query import row_of
from velo_assets.warehouse.sql_table import build_order

CORE_COLUMNS = {
    "races": {
        "race_key": "bigint",
        "race_date": "date",
        "race_label": "varchar",
        "course": "varchar",
        "country": "varchar",
        "surface": "varchar",
        "race_type": "varchar",
        "code": "varchar",
        "race_class": "integer",
        "pattern": "varchar",
        "rating_band_low": "integer",
        "rating_band_high": "integer",
        "min_age_years": "integer",
        "max_age_years": "integer",
        "sex_restriction": "varchar",
        "distance_furlongs": "double",
        "distance_m": "double",
        "going_group": "varchar",
        "going_index": "double",
        "is_handicap": "boolean",
        "field_size": "integer",
        "rail": "varchar",
        "stage": "varchar",
    },
    "entries": {
        "runner_key": "bigint",
        "race_key": "bigint",
        "race_date": "date",
        "horse_key": "bigint",
        "stall": "integer",
        "age_years": "integer",
        "sex": "varchar",
        "weight_lb": "integer",
        "headgear": "varchar",
        "headgear_first_time": "boolean",
        "jockey_key": "bigint",
        "trainer_key": "bigint",
        "owner_key": "bigint",
        "official_rating": "integer",
        "sire": "varchar",
        "dam": "varchar",
        "damsire": "varchar",
        "body_weight_lb": "integer",
        "card_rating": "integer",
        "card_speed_rating": "integer",
    },
    "results": {
        "runner_key": "bigint",
        "race_key": "bigint",
        "race_date": "date",
        "horse_key": "bigint",
        "position": "integer",
        "outcome": "varchar",
        "won": "integer",
        "win_share": "double",
        "beaten_lengths": "double",
        "time_seconds": "double",
        "racing_post_rating": "integer",
        "top_speed": "integer",
        "style_score": "double",
        "trouble_slowly_away": "boolean",
        "trouble_hampered": "boolean",
        "trouble_short_of_room": "boolean",
        "trouble_wide": "boolean",
        "trouble_mistakes": "boolean",
    },
    "prices": {
        "runner_key": "bigint",
        "race_key": "bigint",
        "race_date": "date",
        "price_kind": "varchar",
        "decimal_odds": "double",
        "book_percent": "double",
        "book_complete": "boolean",
    },
    "sectionals": {
        "runner_key": "bigint",
        "race_key": "bigint",
        "race_date": "date",
        "call_number": "integer",
        "calls": "integer",
        "position_at_call": "integer",
        "leader_elapsed_seconds": "double",
    },
}

RACE_DEFAULTS: dict[str, Any] = {
    "course": "Ascot",
    "country": "GB",
    "surface": "turf",
    "race_type": "Flat",
    "code": "flat",
    "distance_furlongs": 8.0,
    "distance_m": 1609.344,
    "going_group": "good",
    "going_index": 0.0,
    "is_handicap": False,
    "stage": "result",
}


@dataclass
class Stables:
    """Races added one by one, then built.

    Attributes:
        connection: a database with empty core tables.
        runner_count: runners added so far; a runner's key is its number.
        race_count: races added so far; a race's key is its number.
    """

    connection: duckdb.DuckDBPyConnection
    runner_count: int = 0
    race_count: int = 0
    _defaults: dict[str, Any] = field(default_factory=lambda: dict(RACE_DEFAULTS))

    def race(self, day: date, runners: list[dict[str, Any]], **conditions: Any) -> list[int]:
        """Add a race.

        Args:
            day: its date.
            runners: a dict per runner: entry columns (`horse_key`, ...), result columns (`position`, ...; neither
                `position` nor `outcome` means no result yet), `sp` and `opening_show` decimal odds, `calls` positions.
            conditions: race columns.

        Returns:
            The runner keys.
        """
        self.race_count += 1
        race_key = self.race_count
        keys = {"race_key": race_key, "race_date": day}
        self._insert("races", {**self._defaults, **conditions, **keys, "field_size": len(runners)})
        winners = sum(runner.get("position") == 1 for runner in runners)
        runner_keys = []
        for runner in runners:
            self.runner_count += 1
            runner_keys.append(self.runner_count)
            row = {**runner, **keys, "runner_key": self.runner_count}
            row.setdefault("horse_key", 1000 + self.runner_count)
            self._insert("entries", row)
            if "position" in runner or "outcome" in runner:
                won = int(runner.get("position") == 1)
                result = {"outcome": "finished", "won": won, "win_share": won / winners if won else 0.0}
                self._insert("results", {**result, **row})
            for kind in ("sp", "opening_show"):
                if kind in runner:
                    book = sum(1 / other[kind] for other in runners if kind in other)
                    complete = all(kind in other for other in runners) and book >= 0.9
                    price = {"price_kind": kind, "decimal_odds": runner[kind]}
                    self._insert("prices", {**row, **price, "book_percent": book, "book_complete": complete})
            for number, position in enumerate(runner.get("calls", ()), start=1):
                call = {"call_number": number, "calls": len(runner["calls"]), "position_at_call": position}
                elapsed = conditions.get("leader_elapsed_seconds", (None,) * len(runner["calls"]))[number - 1]
                self._insert("sectionals", {**row, **call, "leader_elapsed_seconds": elapsed})
        return runner_keys

    def build(self, family: str, start: date, end: date) -> dict[int, dict[str, Any]]:
        """Build a family over `start` to `end`, what it reads since the first race; its rows by runner key."""
        (first,) = row_of(self.connection, "select least(min(race_date), ?) from core.races", [start])
        *read, name = build_order("features", [f"features/{family}"])
        for upstream in read:
            build_table(self.connection, upstream, first, end)
        build_table(self.connection, name, start, end)
        return self.rows(family)

    def rows(self, family: str) -> dict[int, dict[str, Any]]:
        """Rows of a built table by runner key."""
        cursor = self.connection.execute(f"select * from features.{family}")
        names = [column[0] for column in cursor.description]
        records = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        assert len({record["runner_key"] for record in records}) == len(records)
        return {record["runner_key"]: record for record in records}

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        columns = [name for name in CORE_COLUMNS[table] if row.get(name) is not None]
        marks = ", ".join("?" for _ in columns)
        self.connection.execute(
            f"insert into core.{table} ({', '.join(columns)}) values ({marks})", [row[name] for name in columns]
        )


def empty_stables(connection: duckdb.DuckDBPyConnection) -> Stables:
    """Empty core tables in `connection`."""
    connection.execute("create schema core")
    connection.execute("create schema features")
    for table, columns in CORE_COLUMNS.items():
        described = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        connection.execute(f"create table core.{table} ({described})")
    return Stables(connection)


def known(row: dict[str, Any]) -> dict[str, Any]:
    """The features of a row that are not null, without its keys: what pytest can compare with a tolerance."""
    keys = ("race_date", "race_key", "runner_key")
    return {name: value for name, value in row.items() if value is not None and name not in keys}
