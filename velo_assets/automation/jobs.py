"""Jobs: what the schedules, the sensors and `velo` launch."""

from __future__ import annotations

import dagster as dg

from velo_assets.partitions import YEARLY

land = dg.define_asset_job(
    "land",
    selection=dg.AssetSelection.groups("landing"),
    description="Land new and changed files of the input folders.",
)

refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups("landing"),
    partitions_def=YEARLY,
    description="Build the chain from core to serving for one year or a range of years.",
)

JOBS = (land, refresh)
