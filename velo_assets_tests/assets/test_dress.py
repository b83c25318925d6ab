"""What an asset shows in the UI: pictures small, and kept once."""

import base64
import io
import re

import dagster as dg
import numpy as np
from PIL import Image

from velo_assets.assets.dress import PALETTE, picture, show_once
from velo_assets.partitions import YEARLY, range_tags
from velo_assets.reports.plots import BLUE, new_figure, to_png


def drawn() -> bytes:
    figure, axes = new_figure((4.0, 3.0))
    axes.plot([1, 2, 3], [2, 1, 3], color=BLUE, linewidth=3)
    return to_png(figure)


def shown(metadata: dg.MarkdownMetadataValue) -> bytes:
    (inline,) = re.findall(r"^!\[A line\]\(data:image/png;base64,(\S+)\)$", str(metadata.md_str))
    return base64.b64decode(inline)


def test_a_picture_looks_the_same_in_a_quarter_of_the_bytes() -> None:
    full = drawn()
    small = shown(picture(full, "A line"))
    assert len(small) < len(full) / 2.5
    with Image.open(io.BytesIO(full)) as before, Image.open(io.BytesIO(small)) as after:
        assert after.size == before.size
        assert len(after.getcolors() or ()) <= PALETTE
        apart = np.abs(np.asarray(before.convert("RGB"), dtype=int) - np.asarray(after.convert("RGB"), dtype=int))
    assert apart.mean() < 1


def test_a_range_of_years_keeps_a_picture_once(instance: dg.DagsterInstance) -> None:
    @dg.asset(partitions_def=YEARLY, backfill_policy=dg.BackfillPolicy.single_run())
    def market(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        show_once(context, {"reliability": picture(drawn(), "A line")})
        return dg.MaterializeResult(metadata={"rows": 3})

    job = dg.Definitions(assets=[market], jobs=[dg.define_asset_job("build")]).resolve_job_def("build")
    result = job.execute_in_process(instance=instance, tags=range_tags(2019, 2021))
    events = [event.asset_materialization for event in instance.all_logs(result.run_id)]
    stored = [str(entry.dagster_event) for entry in instance.all_logs(result.run_id)]
    kept = {event.partition: set(event.metadata) for event in events if event}
    assert kept == {"2019": {"rows"}, "2020": {"rows"}, "2021": {"rows", "reliability"}}
    assert sum("base64" in event for event in stored) == 1
