"""Jobs: what the schedules, the sensors and `velo` launch."""

from __future__ import annotations

import dagster as dg

LANDING = dg.AssetSelection.groups("landing")
EVALUATION = dg.AssetSelection.groups("monitoring")
TRAINING = dg.AssetSelection.groups("models", "backtest") | dg.AssetSelection.assets("serving/recipe")
WEEKLY = dg.AssetSelection.assets("monitoring/weekly_report")

land = dg.define_asset_job(
    "land",
    selection=LANDING,
    description="Land new and changed files of the input folders.",
)

refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.all() - LANDING,
    description="Build the chain from core to serving for one year or a range of years.",
)

nightly = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.all(),
    description="Land, then refresh the years of yesterday and today: features, models, evaluation, decision, cards.",
)

evaluate = dg.define_asset_job(
    "evaluate",
    selection=EVALUATION,
    description="Judge stored predictions by the results that have landed, measure drift, decide on retraining.",
)

train = dg.define_asset_job(
    "train",
    selection=TRAINING,
    description="Train the models of a year anew and put the recipe to the promotion gate as a challenger.",
)

weekly = dg.define_asset_job(
    "weekly",
    selection=WEEKLY,
    description="Write the report of the last whole week.",
)

JOBS = (land, refresh, nightly, evaluate, train, weekly)
