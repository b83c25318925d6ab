"""velo_assets: raw race results to point-in-time features, models per odds regime, honest backtests, run by Dagster."""

import os

# The libraries read these when they are loaded, so they stand before any of them. Threads that wait for each other by
# spinning take the cores from whatever else runs: beside one other process, boosting took three times the processor
# time. And sums of one thread are the same on any number of cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
