"""Searches by words and by vectors inside a function, and a commit that a live search shows.

Texts have 40 to 160 words, distributed as in a language (Zipf); vectors have 384 dimensions. The
results of vector searches are compared with those of the floor: that is their recall.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import cycle
from typing import Any

import numpy as np

import livedb
from bench.figure import Figure, Reading
from bench.measure import Bench, Watch, medians_us, timed_us
from livedb import QueryContext

GROUP = "search"
WORDS = 60_000
DIMENSIONS = 384
FOUND = 10


def run(bench: Bench) -> Iterator[Figure]:
    count = bench.pick(100_000, 500)
    rounds = bench.pick(100, 3)
    yield from _by_words(count, rounds)
    yield from _by_vectors(count, rounds)


class Texts:
    """Texts, and searches for one common and one rarer word each."""

    def __init__(self, count: int) -> None:
        self._random = random.Random(1)
        self._words = [f"w{number:x}" for number in range(WORDS)]
        weights = [1 / (rank + 1) ** 1.05 for rank in range(WORDS)]
        self._cumulated = list(np.cumsum(weights))
        self.all = [self._text(self._random.randrange(40, 160)) for _ in range(count)]

    def _text(self, length: int) -> str:
        return " ".join(self._random.choices(self._words, cum_weights=self._cumulated, k=length))

    def search(self) -> str:
        return f"{self._text(1)} {self._words[self._random.randrange(50, 3_000)]}"


def _by_words(count: int, rounds: int) -> Iterator[Figure]:
    texts = Texts(count)
    searches = cycle([texts.search() for _ in range(50)])
    with livedb.open() as db:
        made = livedb.define_table().search_index("by_text", "body")
        db.push(livedb.define_schema({"notes": made}))
        db["notes"].load([{"body": text} for text in texts.all])

        @db.query
        def measure(ctx: QueryContext, times: int) -> list[float]:
            query = ctx.db.query("notes")
            return [
                timed_us(lambda: query.with_search_index("by_text", next(searches)).take(FOUND))
                for _ in range(times)
            ]

        db["notes"].first()
        built_us = timed_us(lambda: measure(1))
        livedb_us = sorted(measure(rounds))[rounds // 2]
        shown_us = _until_shown(db, texts, rounds)
    peers = [_sqlite(texts.all), *_tantivy(texts.all)]
    taken = medians_us(rounds, *[lambda look=look: look(next(searches)) for _, look, _ in peers])
    readings = tuple(
        Reading(name=name, value=us) for (name, _, _), us in zip(peers, taken, strict=True)
    )
    yield Figure(
        group=GROUP,
        what=f"the best {FOUND} of {count:,} texts for two words, from a function",
        unit="us",
        value=livedb_us,
        peers=readings,
        ratio_to=readings[0].name,
    )
    yield Figure(
        group=GROUP,
        what=f"the first such search, which indexes {count:,} texts",
        unit="us",
        value=built_us,
        peers=tuple(Reading(name=name, value=us) for name, _, us in peers),
        ratio_to=peers[0][0],
    )
    yield Figure(
        group=GROUP,
        what=f"mutation in memory until a live search of {count:,} texts has the new one",
        unit="us",
        value=shown_us,
    )


def _until_shown(db: Any, texts: Texts, rounds: int) -> float:
    """The median from a mutation that adds a text to the callback of a live search for it."""
    handle = db["notes"].with_search_index("by_text", "needle").live()
    watch = Watch(handle)
    added = iter(range(1, rounds + 1))

    def add() -> object:
        wanted = next(added)
        db["notes"].insert({"body": f"needle {texts.all[wanted]}"})
        return watch.wait(lambda value: len(value) >= wanted)

    return medians_us(rounds, add)[0]


Peer = tuple[str, Callable[[str], object], float]
"""A peer's name, its search, and the microseconds that indexing took."""


def _sqlite(texts: list[str]) -> Peer:
    connection = sqlite3.connect(":memory:")
    connection.execute("create virtual table notes using fts5(body)")
    rows = [(text,) for text in texts]
    built_us = timed_us(lambda: connection.executemany("insert into notes values (?)", rows))

    def look(text: str) -> object:
        first, last = text.split()
        return connection.execute(
            "select body from notes where notes match ? order by rank limit ?",
            (f"{first} OR {last}*", FOUND),
        ).fetchall()

    return "SQLite FTS5", look, built_us


def _tantivy(texts: list[str]) -> list[Peer]:
    """Tantivy, where somebody has installed it; it has no snapshots and no transactions."""
    if find_spec("tantivy") is None:
        return []
    tantivy = import_module("tantivy")
    schema = tantivy.SchemaBuilder()
    schema.add_text_field("body", stored=True)
    index = tantivy.Index(schema.build())

    def build() -> None:
        writer = index.writer(200_000_000, 1)
        for text in texts:
            writer.add_document(tantivy.Document(body=text))
        writer.commit()
        index.reload()

    built_us = timed_us(build)
    searcher = index.searcher()

    def look(text: str) -> object:
        query = index.parse_query(text, ["body"])
        return [searcher.doc(at)["body"] for _, at in searcher.search(query, FOUND).hits]

    return [("tantivy", look, built_us)]


def _by_vectors(count: int, rounds: int) -> Iterator[Figure]:
    random_vectors = np.random.default_rng(1)
    vectors = random_vectors.standard_normal((count, DIMENSIONS), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = random_vectors.standard_normal((50, DIMENSIONS), np.float32)
    with livedb.open() as db:
        made = livedb.define_table().vector_index("by_at", "at", dimensions=DIMENSIONS)
        db.push(livedb.define_schema({"notes": made}))
        for start in range(0, count, 10_000):
            part = vectors[start : start + 10_000].astype(float).tolist()
            db["notes"].load([{"at": each, "n": n} for n, each in enumerate(part, start)])
        searches = cycle(asked)

        @db.query
        def measure(ctx: QueryContext, times: int) -> list[float]:
            query = ctx.db.query("notes")
            return [
                timed_us(lambda: query.with_vector_index("by_at", next(searches)).collect())
                for _ in range(times)
            ]

        db["notes"].first()
        built_us = timed_us(lambda: measure(1))
        livedb_us = sorted(measure(rounds))[rounds // 2]
        found = 0
        for vector in asked[:20]:
            near = {row["n"] for row in db["notes"].with_vector_index("by_at", vector)}
            found += len(near & set(_nearest(vectors, vector).tolist()))
        recall = found / (20 * FOUND)
    [floor_us] = medians_us(rounds, lambda: _nearest(vectors, next(searches)))
    yield Figure(
        group=GROUP,
        what=f"the nearest {FOUND} of {count:,} x {DIMENSIONS}; recall {recall:.3f}",
        unit="us",
        value=livedb_us,
        floor=Reading(name="numpy's product", value=floor_us),
        ratio_to="numpy's product",
    )
    yield Figure(
        group=GROUP,
        what=f"the first such search, which indexes {count:,} vectors",
        unit="us",
        value=built_us,
    )


def _nearest(vectors: Any, vector: Any) -> Any:
    return np.argpartition(vectors @ vector, -FOUND)[-FOUND:]
