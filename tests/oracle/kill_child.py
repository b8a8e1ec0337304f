"""Runs random steps on a workspace until it is killed; tells its parent what it is about to commit.

    python kill_child.py FOLDER SEED FIRST_STEP    the model to start from on standard input

Each line of output is a kind and a state: `acknowledged`, what is durable, and `intended`, what the
mutation now running makes of it if it commits.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from livedb.text import decode_value, encode_value
from tests.oracle.model import Index, Model, Stored, Table, Tables, Version
from tests.oracle.world import World


def encode_model(model: Model) -> bytes:
    """A model as one line."""
    shapes = [
        [since, _plain_tables({name: Table(*shape) for name, shape in each.items()})]
        for since, each in model.shapes
    ]
    tables = _plain_tables(model.tables)
    return encode_value([model.number, tables, _plain_history(model), shapes])


def decode_model(data: bytes) -> Model:
    """The model of `encode_model`."""
    number, tables, history, shapes = decode_value(data)
    model = Model(number, decode_tables(tables))
    for since, each in shapes:
        known = decode_tables(each).items()
        model.shapes.append((since, {name: (table.types, table.indexes) for name, table in known}))
    for name, key, versions in history:
        model.history[name, key] = [
            Version(since, until, Stored(time, fields)) for since, until, time, fields in versions
        ]
    return model


def _plain_tables(tables: Tables) -> Any:
    return [
        [
            name,
            _listed(table.types),
            [[each.name, list(each.fields), each.is_unique] for each in table.indexes],
            [[key, *stored] for key, stored in table.documents.items()],
        ]
        for name, table in tables.items()
    ]


def decode_tables(plain: Any) -> Tables:
    """The tables of an `intended` line."""
    return {
        name: Table(
            _tupled(types),
            tuple(Index(n, tuple(fields), unique) for n, fields, unique in indexes),
            {key: Stored(time, fields) for key, time, fields in documents},
        )
        for name, types, indexes, documents in plain
    }


def _listed(kind: Any) -> Any:
    if isinstance(kind, tuple):
        return ["tuple", *map(_listed, kind)]
    return {n: _listed(each) for n, each in kind.items()} if isinstance(kind, dict) else kind


def _tupled(kind: Any) -> Any:
    if isinstance(kind, list):
        return tuple(map(_tupled, kind[1:]))
    return {n: _tupled(each) for n, each in kind.items()} if isinstance(kind, dict) else kind


def _plain_history(model: Model) -> Any:
    return [
        [name, key, [[each.since, each.until, *each.stored] for each in versions]]
        for (name, key), versions in model.history.items()
    ]


def _say(kind: bytes, data: bytes) -> None:
    sys.stdout.buffer.write(kind + b" " + data + b"\n")
    sys.stdout.buffer.flush()


def main(folder: str, seed: int, first: int) -> None:
    world = World(
        seed,
        Path(folder),
        with_sql=bool(seed % 2),
        model=decode_model(sys.stdin.buffer.readline()),
        on_intent=lambda tables: _say(b"intended", encode_value(_plain_tables(tables))),
    )
    for at in range(first, sys.maxsize):
        world.step(at)
        _say(b"acknowledged", encode_model(world.model))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
