"""The verbs that tell a client of the functions and tables there are, and bring functions."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from livedb.auth.access import Caller
from livedb.errors import FunctionTypeError
from livedb.functions.actions import action_call
from livedb.functions.call import Call
from livedb.functions.signatures import help_of
from livedb.schema.catalog import Catalog
from livedb.service.access import Access
from livedb.service.verb_arguments import Answer, Given
from livedb.travel.parcel import decode_function
from livedb.travel.rebuild import rebuild
from livedb.values import Value
from livedb.version import VERSION
from livedb.workspace import Workspace


class DefinitionCalls:
    """Answers what clients ask of the definitions of one workspace, and takes theirs."""

    def __init__(self, workspace: Workspace, access: Access) -> None:
        self._workspace = workspace
        self._access = access
        self._described = _Described()

    def define(self, given: Given, parcels: list[bytes], _: Call, caller: Caller | None) -> Answer:
        """Define functions that travelled as source; logged when they are `pushed`.

        Those of a `version` were defined before, in a process that has ended: later ones stay.
        """
        workspace = self._workspace
        travelling = [decode_function(each) for each in parcels]
        version = None if given.optional("version") is None else given.whole("version")
        tables = workspace.committer.catalog_at(workspace.committer.published)
        functions = [
            rebuild(each, tables=tables, call=self._join, workspace=workspace.database)
            for each in travelling
        ]
        defined = [workspace.define(each, version=version) for each in functions]
        if given.optional("pushed"):
            author = None if caller is None else caller.name
            workspace.pushed_functions.log(defined, author=author)
        return Answer([[each.name, each.version] for each in defined])

    def lacking(self, given: Given, *_: Any) -> Answer:
        """The names of those functions that are not here, or only in an earlier version."""
        found = {
            name: known.version
            for name in self._workspace.registry.names()
            if (known := self._workspace.registry.find(name)) is not None
        }
        return Answer(
            [name for name, version in given.versions("functions") if found.get(name, -1) < version]
        )

    def _join(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a function of the workspace where another one runs, as a Python call does."""
        workspace = self._workspace
        run = workspace.calling.nested_run()
        if run is None and action_call() is None:
            raise FunctionTypeError(f"{name} is called by a helper outside of a function's run")
        function = workspace.registry.get(name)
        if run is None:  # by an action, for which it is a transaction of its own
            committer = workspace.committer
            tables = committer.catalog_at(committer.published)
            return workspace.runner.run_alone(function, function.bind(args, kwargs, tables=tables))
        bound = function.bind(args, kwargs, tables=run.snapshot.catalog)
        return workspace.calling.join(run, function, bound)

    def describe(self, given: Given, _: list[bytes], __: Call, caller: Caller | None) -> Answer:
        """The tables and functions there are, unless the client knows these, and their version.

        Of internal functions administrators alone learn.
        """
        version, number, catalog = self.version()
        stands = {**self.stands(version, number), "livedb": VERSION}
        if given.optional("known") == version:
            return Answer(stands)
        registry = self._workspace.registry
        functions = [
            {
                "name": name,
                "kind": each.kind,
                "visibility": each.visibility,
                "signature": each.signature.to_json(),
                "help": help_of(each.handler),
                "version": each.version,
            }
            for name in registry.names()
            if (each := registry.find(name)) is not None
            and (each.visibility == "public" or self._access.is_admin(caller))
        ]
        described = {"catalog": catalog.to_json(), "functions": functions}
        # As attachment: the names in a schema may be such as no field of a value can have.
        return Answer(stands, (msgspec.json.encode(described),))

    def stands(self, version: str, number: int) -> dict[str, Value]:
        """How far the workspace is, as every answer that says so does."""
        # The timestamp as text: an int of 64 bits is no number.
        ts = str(self._workspace.committer.ts_of(number))
        return {"number": number, "ts": ts, "version": version}

    def version(self) -> tuple[str, int, Catalog]:
        """Of the definitions: differs when a function or a table is another."""
        workspace = self._workspace
        functions = workspace.registry.version
        number = workspace.committer.published
        catalog = workspace.committer.catalog_at(number)
        return f"{self._described.number_of(catalog)}:{functions}", number, catalog

    def catalog(self, given: Given, *_: Any) -> Answer:
        """The tables there are at the commit of a snapshot."""
        workspace = self._workspace
        held = workspace.folded_sql.held()
        number = workspace.committer.published if held is None else held.number
        past = given.past
        catalog = workspace.committer.catalog_at(number) if past is None else past.catalog
        return Answer(None, (msgspec.json.encode(catalog.to_json()),))


class _Described:
    """Numbers the catalogs that were described."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._number = 0
        self._lock = threading.Lock()
        """Guards both; taken alone."""

    def number_of(self, catalog: Catalog) -> int:
        """Another one for another catalog; one that comes again may get another as well."""
        with self._lock:
            if catalog is not self._catalog:
                self._catalog = catalog
                self._number += 1
            return self._number
