"""Bulk: dicts and Parquet in, Parquet out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import livedb
from bench.figure import Figure, Reading, Target
from bench.measure import Bench, best_us, timed_us
from bench.tasks import define_tasks, task, task_table

GROUP = "loading"


def run(bench: Bench) -> Iterator[Figure]:
    count = bench.pick(1_000_000, 5_000)
    yield _dicts(bench, count)
    source = bench.fresh("tasks.parquet")
    pq.write_table(task_table(count), source)
    yield from _parquet(bench, count, source)


def _dicts(bench: Bench, count: int) -> Figure:
    documents = [task(number) for number in range(count)]
    tasks = define_tasks(livedb.open(bench.fresh("dicts.livedb")))
    try:
        livedb_us = timed_us(lambda: tasks.db.load("tasks", documents))
    finally:
        tasks.db.close()
    return Figure(
        group=GROUP,
        what=f"load {count:,} dicts",
        unit="us",
        value=livedb_us,
        floor=Reading(name="Arrow alone", value=timed_us(lambda: pa.Table.from_pylist(documents))),
        peers=(
            Reading(name="Polars", value=timed_us(lambda: pl.DataFrame(documents))),
            Reading(name="DuckDB", value=timed_us(lambda: _duckdb_from(bench, documents))),
        ),
        ratio_to="DuckDB",
        target=Target(of="value", comparison="<", bound=2e6, text="< 2 s"),
    )


def _duckdb_from(bench: Bench, documents: list[dict[str, Any]]) -> None:
    with duckdb.connect(str(bench.fresh("dicts.duckdb"))) as connection:
        connection.register("documents", pa.Table.from_pylist(documents))
        connection.execute("create table tasks as select * from documents")
        connection.execute("checkpoint")


def _parquet(bench: Bench, count: int, source: Path) -> Iterator[Figure]:
    rounds = bench.pick(3, 1)
    tasks = define_tasks(livedb.open(bench.fresh("parquet.livedb")))
    peer = duckdb.connect(str(bench.fresh("parquet.duckdb")))
    out, peer_out = bench.folder / "out.parquet", bench.folder / "peer.parquet"
    try:
        livedb_in = timed_us(lambda: tasks.db.load("tasks", source))
        peer_in = timed_us(lambda: _duckdb_load(peer, source))
        livedb_out = best_us(rounds, lambda: tasks.db["tasks"].to_parquet(out, overwrite=True))
        peer_out_us = best_us(rounds, lambda: peer.execute(f"copy tasks to '{peer_out}'"))
    finally:
        tasks.db.close()
        peer.close()
    target = Target(of="ratio", comparison="<=", bound=2, text="<= 2 x DuckDB")
    yield Figure(
        group=GROUP,
        what=f"Parquet in, {count:,} documents, ids made",
        unit="us",
        value=livedb_in,
        floor=Reading(name="Arrow read", value=timed_us(lambda: pq.read_table(source))),
        peers=(
            Reading(name="DuckDB", value=peer_in),
            Reading(name="Polars", value=timed_us(lambda: pl.read_parquet(source))),
        ),
        ratio_to="DuckDB",
        target=target,
    )
    frame = pl.read_parquet(out)
    yield Figure(
        group=GROUP,
        what=f"Parquet out, {count:,} documents, ids included",
        unit="us",
        value=livedb_out,
        floor=Reading(
            name="Arrow write",
            value=best_us(rounds, lambda: pq.write_table(frame.to_arrow(), peer_out)),
        ),
        peers=(
            Reading(name="DuckDB", value=peer_out_us),
            Reading(name="Polars", value=best_us(rounds, lambda: frame.write_parquet(peer_out))),
        ),
        ratio_to="DuckDB",
        target=target,
    )


def _duckdb_load(connection: duckdb.DuckDBPyConnection, source: Path) -> None:
    # livedb makes an id and a creation time for each document; so does the peer.
    connection.execute(
        "create table tasks as select uuid()::varchar as _id, epoch(now()) as _creationTime, * "
        f"from read_parquet('{source}')"
    )
    connection.execute("checkpoint")
