"""What each column of the tables of the layer `backtest` is, with its unit: shown in the UI, stored as comments.

Belongs here: words. Not here: types and order, which stand where a table is made (`ledger.LEDGER`,
`metrics.STRATEGY_TABLE`, ...).
"""

from __future__ import annotations

from velo_assets.warehouse.sql_table import Column

TRIALS = (
    Column("data_fingerprint", "hash of the races bet on: their days, number and keys", ""),
    Column("definition_hash", "the variant: hash of the strategy's definition and of the models it relied on", ""),
    Column("strategy_id", "id in strategies.toml when it was run", ""),
    Column("name", "name of the strategy when it was run", ""),
    Column("first_run_at", "when it was first run on these races, UTC", ""),
    Column("last_run_at", "when it was last run on these races, UTC", ""),
    Column("runs", "times it was run on these races", "runs"),
    Column("first_race", "first day of the races bet on; null in rows from before it was noted", ""),
    Column("last_race", "last day of the races bet on; likewise", ""),
)
