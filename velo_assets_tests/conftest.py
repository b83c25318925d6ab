"""What several folders of tests need: a small simulated world built through Dagster, and a web server to be told."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest

from velo_assets.automation.instance import velo_instance
from velo_assets.automation.runner import Outcome, run_chain
from velo_assets.definitions import defs
from velo_assets.resources.models import registry_of
from velo_assets.settings import DataRoot
from velo_assets.simulation.world import simulate
from velo_assets.warehouse.connection import Warehouse

YEARS = (2021, 2022, 2023)


@dataclass(frozen=True)
class BuiltWorld:
    """A data root after one run of the whole chain."""

    root: DataRoot
    instance: dg.DagsterInstance
    outcome: Outcome

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.root.warehouse)


@dataclass(frozen=True)
class Webhook:
    """A web server of this machine: its address, and the bodies it was sent. It refuses what goes to `/broken`."""

    url: str
    received: list[dict[str, object]] = field(default_factory=list)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path.startswith("/broken") else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Webhook(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield hook
        server.shutdown()
        thread.join()


def silent_instance() -> dg.DagsterInstance:
    """An instance in memory that keeps no telemetry."""
    # No dagster.yaml turns it off: it would write into DAGSTER_HOME, which is the project's folder.
    return dg.DagsterInstance.ephemeral(settings={"telemetry": {"enabled": False}})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance that lives as long as a test."""
    with silent_instance() as instance:
        yield instance


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model registry with tables and nothing else: making the tables takes seconds, copying the file does not."""
    registry = registry_of(DataRoot(tmp_path_factory.mktemp("store")))
    with registry._writing("make tables") as client:
        client.search_experiments()
    return registry.database


@pytest.fixture(scope="session")
def built_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuiltWorld]:
    path = tmp_path_factory.mktemp("world")
    simulate(first_year=YEARS[0], last_year=YEARS[-1], races_per_year=540, seed=5, edge=0.5, out=path)
    root = DataRoot(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELO_DATA", str(path))
        patch.setenv("DAGSTER_HOME", os.environ.get("DAGSTER_HOME", str(Path(__file__).resolve().parent.parent)))
        with velo_instance(root) as instance:
            yield BuiltWorld(root, instance, run_chain(defs, instance, root))
