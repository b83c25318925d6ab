from __future__ import annotations

import duckdb

from velo_assets.racing.macros import register


def test_registering_twice_is_harmless_and_leaves_nothing_in_the_file() -> None:
    connection = duckdb.connect()
    register(connection)
    register(connection)
    assert connection.execute("select sp_odds('7/2')").fetchone() == (4.5,)
    stored = connection.execute(
        "select count(*) from duckdb_functions() where function_name = 'sp_odds' and database_name <> 'temp'"
    ).fetchone()
    assert stored == (0,)
