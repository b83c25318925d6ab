"""Does what has to be done to tables two at a time, each as soon as the tables that it reads are done.

Planning a statement keeps one core busy, and so does most of what a single day needs.

Belongs here: the order, and who works on which connection. Does not belong here: what is done (build.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter

import duckdb

from velo_assets.warehouse.sql_table import load_table


def side_by_side(
    connection: duckdb.DuckDBPyConnection, names: Collection[str], job: Callable[[duckdb.DuckDBPyConnection, str], None]
) -> None:
    """Call `job(connection, name)` for every table, after those of `names` that it reads.

    Args:
        connection: an open warehouse, outside of a transaction; the jobs get it and a second connection to it.
        names: SQL tables.
        job: commits what it writes, to its own table and to records of it alone.

    Raises:
        Exception: the first that a job raised; what was running is finished, nothing more is begun.
    """
    reads = {name: set(load_table(name).dependencies) & set(names) for name in names}
    waited_for = _longest_chains(reads)
    order = TopologicalSorter(reads)
    order.prepare()
    ready: list[str] = []
    running: dict[Future[None], tuple[str, duckdb.DuckDBPyConnection]] = {}
    with connection.cursor() as other, ThreadPoolExecutor(max_workers=2) as pool:
        idle = [other, connection]
        while order.is_active():
            ready = sorted([*ready, *order.get_ready()], key=lambda name: -waited_for[name])
            while ready and idle:
                name, worker = ready.pop(0), idle.pop()
                running[pool.submit(job, worker, name)] = (name, worker)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name, worker = running.pop(future)
                idle.append(worker)
                future.result()
                order.done(name)


def _longest_chains(reads: Mapping[str, Collection[str]]) -> dict[str, int]:
    """How many tables at most have to be done one after the other once this one is: who has most begins first."""
    chains = dict.fromkeys(reads, 1)
    for name in reversed([*TopologicalSorter(reads).static_order()]):
        for read in reads[name]:
            chains[read] = max(chains[read], chains[name] + 1)
    return chains
