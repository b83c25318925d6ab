"""What was predicted out of sample, from literal rows: which races, which recipes."""

from __future__ import annotations

from datetime import date

import duckdb

from velo_assets.warehouse.build import build_table

SETUP = """
    create schema core; create schema models; create schema backtest;
    create table core.races as select * from (values
        (date '2023-12-30', 1, 'result'), (date '2024-05-01', 2, 'result'), (date '2024-05-02', 3, 'card')
    ) as races (race_date, race_key, stage);
    create table models.blend as
    select race_date, race_key, race_key * 10 as runner_key, 2024 as fold, date '2024-01-01' as cutoff,
        0.5 as blend_probability, 0.4 as market_beta_probability, 'b' as model_hash
    from core.races where race_key > 1;
    create table models.gate as select * replace ('g' as model_hash), 0.6 as expert_probability from models.blend;
    create table models.fundamental as
    select race_date, race_key, race_key * 10 as runner_key, year(race_date) as fold, date '2024-01-01' as cutoff,
        0.3 as fundamental_probability, 'f' as model_hash
    from core.races;
"""


def test_a_card_is_no_out_of_sample_prediction_and_a_warm_up_year_none() -> None:
    connection = duckdb.connect()
    connection.execute(SETUP)
    build_table(connection, "backtest/walk_forward", date(2023, 1, 1), date(2024, 12, 31))
    rows = connection.execute("select race_key, recipe, probability from backtest.walk_forward order by all").fetchall()
    # The card of 2 May 2024 is predicted by every model, the fundamental model and the blend by a price-free part.
    assert [(key, recipe, float(chance)) for key, recipe, chance in rows] == [
        (2, "blend", 0.5),
        (2, "experts", 0.6),
        (2, "fundamental", 0.3),
        (2, "market_beta", 0.4),
    ]
