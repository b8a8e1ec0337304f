"""A committer, tables and a model of every commit in plain Python, around a document store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain

import pyarrow as pa

from livedb.ids import encode_id
from livedb.keys.encoding import encode_key
from livedb.keys.index_key import index_key, key_suffix, split_path
from livedb.limits import Limits
from livedb.schema.tables import IndexDefinition
from livedb.store.backlog import Backlog
from livedb.store.contract import DocumentStore, Entry, StoredDocument, Write
from livedb.store.loaded import LoadedTable
from livedb.text import decode_fields, encode_fields
from livedb.values import Value

TABLE = 10_001
OTHER = 10_002
INDEXES = (
    IndexDefinition("by_a", ("a",)),
    IndexDefinition("by_nested", ("b.c", "a")),
)
INDEX_NAMES = ("by_id", "by_creation_time", "by_a", "by_nested")

Documents = Mapping[str, StoredDocument]
Fields = Mapping[str, Value]


def document_id(number: int, table: int = TABLE) -> str:
    """The id of the `number`-th document; ids are ordered as their numbers."""
    return encode_id(table, number.to_bytes(16, "big"))


def key_in(index: str, key_id: str, document: StoredDocument) -> bytes:
    """The key of a document, made the plain way."""
    if index == "by_id":
        return encode_key(key_id)
    fields = next((known.fields for known in INDEXES if known.name == index), ())
    suffix = key_suffix(document.creation_time, key_id)
    return index_key(decode_fields(document.text), [split_path(name) for name in fields], suffix)


def ordered(documents: Documents, index: str) -> list[Entry]:
    """All documents in the order of an index."""
    return sorted(Entry(key_in(index, key_id, it), key_id, it) for key_id, it in documents.items())


class World:
    """Commits made one after another; `states[n][table]` is what commit n left.

    `fold` makes the commits so far part of what `load` gives, as a fold into DuckDB does.
    """

    def __init__(self, make_store: Callable[[World], DocumentStore]) -> None:
        self.states: list[dict[int, dict[str, StoredDocument]]] = [{TABLE: {}, OTHER: {}}]
        self.backlog = Backlog()
        self.folded = 0
        self.released = 0
        self.before_load: Callable[[], None] = lambda: None
        self.after_load: Callable[[], None] = lambda: None
        self.store = make_store(self)

    @property
    def number(self) -> int:
        """The newest commit."""
        return len(self.states) - 1

    def commit(self, changes: Mapping[str, Fields | None], *, table: int = TABLE) -> int:
        """Change documents, by id; None deletes. The id decides when a new one was made."""
        state = dict(self.states[-1][table])
        writes = [self._write(table, state, key_id, fields) for key_id, fields in changes.items()]
        writes = [write for write in writes if (write.old, write.new) != (None, None)]
        number = self.number + 1
        # The model first: a reader in another thread may ask it as soon as the store has it.
        self.states.append({**self.states[-1], table: state})
        self.backlog.append(number, writes)
        self.store.apply(number, writes)
        return number

    def undo(self, number: int) -> None:
        """Take back the commits above `number`, as far as they are not folded, hence durable."""
        number = max(number, self.folded)
        self.backlog.undo(number)
        self.store.undo(number)
        del self.states[number + 1 :]

    def release(self, number: int) -> None:
        self.released = max(self.released, number)
        self.store.release(number)

    def fold(self, number: int | None = None) -> None:
        self.folded = max(self.folded, self.number if number is None else number)
        self.backlog.drop(self.folded)

    def load(self, table: int) -> LoadedTable:
        """What the tables hold, as `RowStore` asks for it."""
        self.before_load()
        number = self.folded
        found = sorted(
            self.states[number][table].items(), key=lambda item: (item[1].creation_time, item[0])
        )
        loaded = LoadedTable(
            number=number,
            ids=pa.array([key_id for key_id, _ in found], pa.string()),
            creation_times=pa.array([it.creation_time for _, it in found], pa.float64()),
            texts=pa.array([it.text for _, it in found], pa.large_binary()),
        )
        self.after_load()
        return loaded

    def indexes_of(self, table: int) -> tuple[IndexDefinition, ...]:
        return INDEXES

    def estimate_bytes(self, table: int) -> int:
        return sum(len(it.text) + 200 for it in self.states[self.folded][table].values())

    def limits(self) -> Limits:
        return Limits()

    def scan(
        self,
        index: str,
        lower: bytes = b"",
        upper: bytes | None = None,
        *,
        number: int | None = None,
        reverse: bool = False,
        table: int = TABLE,
    ) -> list[Entry]:
        """What the store gives, in one list."""
        number = self.number if number is None else number
        blocks = self.store.scan(table, index, lower, upper, number=number, reverse=reverse)
        return list(chain.from_iterable(block.entries() for block in blocks))

    def expected(
        self,
        index: str,
        lower: bytes = b"",
        upper: bytes | None = None,
        *,
        number: int | None = None,
        reverse: bool = False,
        table: int = TABLE,
    ) -> list[Entry]:
        """What the model says `scan` must give."""
        number = self.number if number is None else number
        entries = [
            entry
            for entry in ordered(self.states[number][table], index)
            if lower <= entry.key and (upper is None or entry.key < upper)
        ]
        return entries[::-1] if reverse else entries

    def check(self, number: int) -> None:
        """Every way to read the state at `number` agrees with the model."""
        state = self.states[number][TABLE]
        assert self.store.count(TABLE, number=number) == len(state)
        for index in INDEX_NAMES:
            for reverse in (False, True):
                found = self.scan(index, number=number, reverse=reverse)
                expected = self.expected(index, number=number, reverse=reverse)
                assert found == expected, f"{index} at {number}, reverse={reverse}"
        for key_id in self._ids():
            assert self.store.get(TABLE, key_id, number=number) == state.get(key_id)

    def _ids(self) -> Iterator[str]:
        yield from {key_id for state in self.states for key_id in state[TABLE]}
        yield document_id(10**9)

    def _write(
        self, table: int, state: dict[str, StoredDocument], key_id: str, fields: Fields | None
    ) -> Write:
        old = state.pop(key_id, None)
        new = None
        if fields is not None:
            creation_time = old.creation_time if old else creation_time_of(key_id)
            state[key_id] = new = StoredDocument(creation_time, encode_fields(fields))
        names = tuple(index for index in INDEX_NAMES if index != "by_id")
        old_keys = _keys(names, key_id, old)
        new_keys = _keys(names, key_id, new)
        if new_keys == old_keys and key_id > document_id(20, table):
            new_keys = old_keys  # a writer may, but need not, give the very same tuple
        return Write(table, key_id, old, new, names, old_keys, new_keys)


def _keys(
    names: tuple[str, ...], key_id: str, document: StoredDocument | None
) -> tuple[bytes, ...] | None:
    if document is None:
        return None
    return tuple(key_in(name, key_id, document) for name in names)


def creation_time_of(key_id: str) -> float:
    """A creation time that neither follows the order of ids nor is unique."""
    return 1e12 + sum(map(ord, key_id[-6:])) % 7
