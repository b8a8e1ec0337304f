"""`ctx.env`: environment variables, whose reads are part of the read set as any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from livedb.functions.query_builder import DocumentQuery
from livedb.schema.tables import ENVIRONMENT_TABLE
from livedb.transactions.transaction import Snapshot
from livedb.values import Document

PLACES_KEY = "places of the service"
"""Among the names that a run has read: it asked for environment variables. No table has spaces."""


class Environment(Mapping[str, str]):
    """`ctx.env`: the environment variables, as `npx convex env` or an administrator set them."""

    def __init__(self, snapshot: Snapshot, places: Mapping[str, str]) -> None:
        self._snapshot = snapshot
        self._places = places
        self._values: dict[str, str] | None = None

    def stored(self) -> dict[str, str]:
        """Those that somebody set, without those that say where the workspace is served."""
        rows: DocumentQuery[Document] = DocumentQuery(self._snapshot, ENVIRONMENT_TABLE)
        return {row["name"]: row["value"] for row in rows.collect()}

    def _read(self) -> dict[str, str]:
        if self._values is None:
            self._snapshot.reads.names.add(PLACES_KEY)
            self._values = {**self.stored(), **self._places}
        return self._values

    def __getitem__(self, name: str) -> str:
        found = self._read()
        if name not in found:
            raise no_variable(name)
        return found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


class Variables(dict[str, str]):
    """`ctx.env` of an action: the environment variables as they were when it asked."""

    def __missing__(self, name: str) -> str:
        raise no_variable(name)


def no_variable(name: str) -> KeyError:
    """What reading a variable that nobody set raises."""
    return KeyError(f"no environment variable {name}; db.env[{name!r}] = '..' sets it")
