"""Contract checks: keys are unique, races settle, probabilities sum to 1, landing rejects stay under a ceiling."""

from collections.abc import Iterable

import dagster as dg

from velo_assets.assets.dress import asset_key
from velo_assets.ingestion.rejects import ROW
from velo_assets.resources.data import WarehouseResource
from velo_assets.warehouse.builds import forget_build
from velo_assets.warehouse.query import row_of

UNIQUE_KEYS = {
    "core/races": "race_key",
    "core/entries": "runner_key",
    "core/results": "runner_key",
    "core/prices": "runner_key, price_kind",
    "core/sectionals": "runner_key, call_number",
    "features/runner_features": "runner_key",
    "market/devig_methods": "race_date, price_kind, method",
    "market/probabilities": "runner_key, price_kind",
    "models/fundamental": "runner_key",
    "models/gate": "runner_key",
    "models/blend": "runner_key",
    "backtest/walk_forward": "runner_key, recipe",
}
"""Tables and what identifies a row of them."""

SUMS = {
    "market/probabilities": ("probability", "race_key, price_kind"),
    "models/fundamental": ("fundamental_probability", "race_key"),
    "models/gate": ("expert_probability", "race_key"),
    "models/blend": ("blend_probability", "race_key"),
}
"""Probability columns and the group over which they sum to 1."""

REJECT_CEILING = 0.02
"""More rejected rows than this is a broken export, not the odd bad line."""

UNSETTLED_CEILING = 0.02
"""Void races and races without a recorded winner are rarer than this in every file seen."""


def checks() -> list[dg.AssetChecksDefinition]:
    """The contract checks."""
    return [
        *(_unique(name, key) for name, key in UNIQUE_KEYS.items()),
        *(_sums_to_one(name, column, group) for name, (column, group) in SUMS.items()),
        _races_settle(),
        _reject_ceiling(),
    ]


def _unique(name: str, key: str) -> dg.AssetChecksDefinition:
    relation = name.replace("/", ".")

    @dg.asset_check(
        asset=asset_key(name), name="unique_key", blocking=True, description=f"One row per {key}, and no null in it."
    )
    def unique_key(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        nulls = " or ".join(f"{column.strip()} is null" for column in key.split(","))
        with warehouse.get_connection() as connection:
            row = row_of(
                connection,
                f"select (select count(*) from {relation}), "
                f"(select count(*) from (select distinct {key} from {relation})), "
                f"(select count(*) from {relation} where {nulls})",
            )
            rows, keys, missing = row
            if rows != keys or missing:
                forget_build(connection, name)
        return dg.AssetCheckResult(
            passed=rows == keys and not missing,
            metadata={"rows": rows, "keys": keys, "null_keys": missing},
            description=f"{rows - keys} rows repeat a key, {missing} lack one.",
        )

    return unique_key


def _sums_to_one(name: str, column: str, group: str) -> dg.AssetChecksDefinition:
    relation = name.replace("/", ".")

    @dg.asset_check(
        asset=asset_key(name),
        name="probabilities_sum_to_1",
        blocking=True,
        description=f"{column} sums to 1 over each {group}, or is null throughout it.",
    )
    def probabilities_sum_to_1(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        with warehouse.get_connection() as connection:
            row = row_of(
                connection,
                f"""
                with races as (
                    select {group}, count(*) as runners, count({column}) as priced, sum({column}) as total,
                        min({column}) as least
                    from {relation} group by {group}
                )
                select count(*), count(*) filter (where priced > 0),
                    count(*) filter (where priced > 0 and (priced < runners or abs(total - 1) > 1e-6 or least < 0))
                from races
                """,
            )
            races, priced, wrong = row
            if wrong:
                forget_build(connection, name)
        return dg.AssetCheckResult(
            passed=not wrong,
            metadata={"races": races, "races_with_probabilities": priced, "races_wrong": wrong},
            description=f"{wrong} of {priced} races do not sum to 1.",
        )

    return probabilities_sum_to_1


def _races_settle() -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key("core/results"),
        name="one_winner_or_dead_heat",
        description="Win shares sum to 1 in every race; void races and races without a winner are counted and few.",
    )
    def one_winner_or_dead_heat(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        with warehouse.get_connection() as connection:
            row = row_of(
                connection,
                """
                with races as (
                    select race_key, sum(win_share) as share, sum(won) as winners from core.results group by race_key
                )
                select count(*), count(*) filter (where winners > 1), count(*) filter (where share = 0),
                    count(*) filter (where share > 0 and abs(share - 1) > 1e-6)
                from races
                """,
            )
        races, dead_heats, without, wrong = row
        return dg.AssetCheckResult(
            passed=not wrong and without <= UNSETTLED_CEILING * max(races, 1),
            metadata={"races": races, "dead_heats": dead_heats, "without_winner": without, "wrong_shares": wrong},
            description=f"{dead_heats} dead heats, {without} races without a winner, {wrong} with wrong shares.",
        )

    return one_winner_or_dead_heat


def _reject_ceiling() -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key("landing/raceform"),
        name="rejects_under_ceiling",
        description=f"Rejected rows stay under {REJECT_CEILING:.0%} of what was read, counts per reason beside it.",
    )
    def rejects_under_ceiling(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        with warehouse.get_connection() as connection:
            total = row_of(
                connection,
                "select coalesce(sum(rows + rejected_rows), 0), coalesce(sum(rejected_rows), 0) "
                "from landing.manifest where status = 'live' and kind = 'raceform'",
            )
            reasons: Iterable[tuple[str, int]] = connection.execute(
                "select reason, count(*) from landing.rejects join landing.manifest using (file, sha256) "
                "where kind = 'raceform' and status = 'live' and severity = ? group by 1 order by 2 desc",
                [ROW],
            ).fetchall()
        rows, rejected = total
        return dg.AssetCheckResult(
            passed=rejected <= REJECT_CEILING * max(rows, 1),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"rows": int(rows), "rejected": int(rejected), **{f"reason {r}": n for r, n in reasons}},
            description=f"{rejected:,} of {rows:,} rows were rejected.",
        )

    return rejects_under_ceiling
