"""Random programs of writes, schema changes and searches: each step equals looking at everything.

After each step every live search, and one inside a mutation with writes of its own, is compared
with what `tests.search.brute` finds in the documents that are there.

`LIVEDB_ORACLE_SEED` runs one seed of the long form.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

import livedb
from livedb.values import UNSET
from tests.search import brute

WORDS = ("a", "an", "ant", "antler", "bee", "beetle", "cat", "cats", "Äpfel", "x1", "y" * 33)
SCHEMAS = (
    ({"by_text": ("body", ["who", "deep.er"])}, {"by_at": ("at", ["who", "deep.er"])}),
    ({"by_text": ("body", ["who", "deep.er"])}, {}),
    ({"by_text": ("title", ["who", "deep.er"])}, {"by_at": ("at", ["who", "deep.er"])}),
    ({}, {"by_at": ("to", ["who", "deep.er"])}),
)


class Program:
    """A workspace, its live searches, and how they are to come out."""

    def __init__(self, seed: int, path: Path | None) -> None:
        self.random = Random(seed)
        self.path = path
        self.open()
        self.define(SCHEMAS[0])

    def open(self) -> None:
        self.db = livedb.open(self.path)
        self.live: list[tuple[dict[str, Any], Any]] = []

        @self.db.query
        def found(ctx: Any, asked: dict[str, Any]) -> list[list[Any]]:
            return search(ctx, asked)

        @self.db.mutation
        def change(ctx: Any, steps: list[Any], asked: dict[str, Any], fails: bool) -> Any:  # noqa: FBT001
            for kind, at, fields in steps:
                if kind == "insert":
                    ctx.db.insert("notes", fields)
                elif ctx.db.get(at) is None:
                    continue
                elif kind == "delete":
                    ctx.db.delete(at)
                else:
                    getattr(ctx.db, kind)(at, fields)
            seen = {"documents": list(ctx.db.query("notes")), "found": search(ctx, asked)}
            if fails:
                raise livedb.ApplicationError(seen)
            return seen

        self.found, self.change = found, change

    def define(self, schema: Any) -> None:
        self.schema = schema
        made = livedb.define_table()
        for name, (field, filters) in schema[0].items():
            made = made.search_index(name, field, filters=filters)
        for name, (field, filters) in schema[1].items():
            made = made.vector_index(name, field, dimensions=3, filters=filters)
        self.db.push(livedb.define_schema({"notes": made}))

    # -- steps ---------------------------------------------------------------------------------

    def step(self) -> str:
        kind: str = self.random.choices(
            ["write", "schema", "follow", "load", "drop", "reopen", "sql", "repack"],
            [60, 6, 14, 4, 2, 2, 4, 3],
        )[0]
        getattr(self, f"do_{kind}")()
        return kind

    def do_write(self) -> None:
        random = self.random
        ids = [each["_id"] for each in self.db["notes"].collect()]
        steps = []
        for _ in range(random.randrange(1, 5)):
            kind = random.choice(["insert", "insert", "patch", "replace", "delete"])
            at = random.choice(ids) if ids else None
            steps.append(["insert" if at is None else kind, at, self.fields()])
        asked = self.asked()
        fails = random.random() < 0.15
        try:
            seen = self.change(steps, asked, fails)
        except livedb.ApplicationError as error:
            assert fails
            seen = error.data
        self.check(asked, seen["documents"], seen["found"])

    def do_schema(self) -> None:
        self.define(self.random.choice(SCHEMAS))
        self.live = [each for each in self.live if self.has_index(each[0])]

    def do_follow(self) -> None:
        if len(self.live) > 12:
            self.live.pop(self.random.randrange(len(self.live)))[1].close()
        asked = self.asked()
        self.live.append((asked, self.found.live(asked)))

    def do_load(self) -> None:
        self.db["notes"].load([self.fields() for _ in range(self.random.randrange(1, 20))])

    def do_drop(self) -> None:
        self.db.drop_table("notes")
        self.define(self.schema)

    def do_reopen(self) -> None:
        if self.path is not None:
            self.db.close()
            self.open()

    def do_sql(self) -> None:
        self.db.sql("select count(*) from notes")  # which folds

    def do_repack(self) -> None:
        table = self.db.backend.workspace.committer.catalog.get("notes")  # type: ignore[attr-defined]
        self.db.backend.workspace.rows.repack(table.number)  # type: ignore[attr-defined]

    # -- what is asked, and found ----------------------------------------------------------------

    def fields(self) -> dict[str, Any]:
        random = self.random
        made: dict[str, Any] = {"who": random.choice(["ada", "bob", 1, None])}
        for name in ("body", "title"):
            if random.random() < 0.85:
                made[name] = " ".join(random.choices(WORDS, k=random.randrange(7)))
            elif random.random() < 0.3:
                made[name] = random.choice([1, ["ant"], None])
        if random.random() < 0.4:
            made["deep"] = {"er": random.randrange(2)}
        for name in ("at", "to"):
            if random.random() < 0.85:
                made[name] = [random.randrange(-2, 3) for _ in range(3)]
            elif random.random() < 0.3:
                made[name] = random.choice([[1.0], [float("nan"), 1, 1], "abc", None])
        return made

    def asked(self) -> dict[str, Any]:
        random = self.random
        equal = []
        if random.random() < 0.4:
            equal.append(["who", [random.choice(["ada", 1, None, "nobody"])]])
        if random.random() < 0.3:
            equal.append(["deep.er", random.choice([[0], []])])
        kinds = [
            kind for kind, indexes in zip(("text", "vector"), self.schema, strict=True) if indexes
        ]
        if random.choice(kinds) == "text":
            text = " ".join(random.choices(WORDS, k=random.randrange(1, 4)))
            asked = {"text": text, "equal": equal}
        else:
            vector = [random.randrange(-2, 3), random.randrange(-2, 3), 1.0]
            asked = {"vector": vector, "equal": equal, "limit": random.choice([1, 3, 20])}
        return asked

    def has_index(self, asked: dict[str, Any]) -> bool:
        return bool(self.schema[0] if "text" in asked else self.schema[1])

    def check_live(self) -> None:
        documents = self.db["notes"].collect()
        for asked, handle in self.live:
            self.check(asked, documents, handle.value)

    def check(self, asked: dict[str, Any], documents: list[Any], found: list[Any]) -> None:
        seen = [brute.Document(each["_id"], each["_creationTime"], each) for each in documents]
        equal = [(path, packed[0] if packed else UNSET) for path, packed in asked["equal"]]
        pairs = [(document_id, score) for document_id, score in found]
        if "text" in asked:
            [(field, _)] = self.schema[0].values()
            expected = brute.text_search(seen, field, asked["text"], dict(equal))
            assert pairs == expected, asked
            return
        [(field, _)] = self.schema[1].values()
        expected = brute.vector_search(seen, field, asked["vector"], equal or None)
        scores = [score for _, score in expected[: asked["limit"]]]
        assert [score for _, score in pairs] == pytest.approx(scores, abs=1e-5), asked
        assert set(dict(pairs)) <= set(dict(expected))
        assert pairs == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def search(ctx: Any, asked: dict[str, Any]) -> list[list[Any]]:
    """What a search finds: ids and scores."""
    query = ctx.db.query("notes")
    equal = [(path, packed[0] if packed else UNSET) for path, packed in asked["equal"]]
    if "text" in asked:

        def build(q: Any) -> Any:
            q.search(None, asked["text"])
            for path, value in equal:
                q.eq(path, value)
            return q

        found = query.with_search_index("by_text", build)
    else:
        condition = (lambda q: q.or_(*(q.eq(*pair) for pair in equal))) if equal else None
        found = query.with_vector_index(
            "by_at", asked["vector"], limit=int(asked["limit"]), filter=condition
        )
    return [[document["_id"], score] for document, score in found.scored()]


def run_program(seed: int, path: Path | None, steps: int) -> None:
    program = Program(seed, path)
    at, kind = 0, "open"
    try:
        for at in range(steps):  # noqa: B007  # the error says which it was
            kind = program.step()
            program.check_live()
    except BaseException as error:
        error.add_note(f"oracle: seed {seed}, step {at} ({kind}), path {path}")
        raise
    finally:
        program.db.close()


@pytest.mark.parametrize("seed", range(4))
def test_every_search_equals_looking_at_all_documents(seed: int, tmp_path: Path) -> None:
    run_program(seed, tmp_path / "w.livedb" if seed % 2 else None, 40)


def _long_seeds() -> range:
    chosen = os.environ.get("LIVEDB_ORACLE_SEED")
    return range(1000, 1040) if chosen is None else range(int(chosen), int(chosen) + 1)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", _long_seeds())
def test_long_programs_of_searches_equal_looking_at_all_documents(
    seed: int, tmp_path: Path
) -> None:
    run_program(seed, tmp_path / "w.livedb" if seed % 2 else None, 300)
