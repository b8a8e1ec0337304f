"""Runs cells as a kernel does, and captures and rebuilds what they define.

Used by the tests, by the cells of a real kernel and by the process that plays the service.
"""

from __future__ import annotations

import linecache
import sys
import types
from typing import Any, Self

import livedb
from livedb.client.functions import names_of_functions
from livedb.functions.definition import canonical_result
from livedb.schema.tables import TableDefinition
from livedb.text import decode_value, encode_value
from livedb.travel.capture import capture
from livedb.travel.parcel import decode_function, encode_function
from livedb.travel.rebuild import rebuild


class Kernel:
    """A namespace and a history of cells, as IPython keeps them; `with` makes it `__main__`."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.names = vars(self.module)
        self.history = [""]
        self.names["_ih"] = self.history

    def __enter__(self) -> Self:
        self._before = sys.modules["__main__"]
        sys.modules["__main__"] = self.module
        return self

    def __exit__(self, *_: object) -> None:
        sys.modules["__main__"] = self._before

    def run(self, cell: str) -> None:
        file = f"<ipython-input-{id(self)}-{len(self.history)}>"
        self.history.append(cell)
        linecache.cache[file] = (len(cell), None, cell.splitlines(keepends=True), file)
        exec(compile(cell, file, "exec", dont_inherit=True), self.names)


def captured(function: Any, **options: Any) -> Any:
    """The travelling form of a query or mutation of a cell."""
    definition = function.definition
    return capture(
        definition.handler,
        kind=definition.kind,
        name=definition.name,
        visibility=definition.visibility,
        reference=names_of_functions(function._database),
        **options,
    )


def state_of(db: livedb.Database) -> dict[str, Any]:
    """Tables and documents of a workspace, as JSON."""
    return {
        "tables": [table.definition.to_json() for table in db.backend.catalog()],
        "documents": {
            name: encode_value(
                [
                    {key: value for key, value in each.items() if not key.startswith("_")}
                    for each in db[name].collect()
                ]
            ).decode()
            for name in db.tables
        },
    }


def restored(state: dict[str, Any]) -> livedb.Database:
    db = livedb.open()
    db.backend.apply_tables([TableDefinition.from_json(each) for each in state["tables"]])
    for name, documents in state["documents"].items():
        for document in decode_value(documents.encode()):
            db[name].insert(document)
    return db


def arrive(db: livedb.Database, parcel: bytes) -> Any:
    """Define what arrived on a service, and give the function to call."""
    travelling = decode_function(parcel)
    definition = rebuild(
        travelling, tables=db.backend.catalog(), call=db.backend.call, workspace=db
    )
    db.backend.define(definition)
    return db.function(definition.name)


def shipment(db: livedb.Database, functions: list[Any]) -> dict[str, Any]:
    """Everything a service needs to run the functions as this workspace would now."""
    parcels = [encode_function(captured(each)).hex() for each in functions]
    return {"state": state_of(db), "parcels": parcels}


def outcome(function: Any, arguments: dict[str, Any]) -> str:
    """The text of a function's result, without what differs from workspace to workspace."""
    try:
        result = function(**arguments)
    except livedb.LivedbError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - an error of the user's own is an outcome too
        return f"{type(error).__name__}: {error} in line {_line_of(error)}"
    return encode_value(_without_ids(canonical_result(result))).decode()


def _line_of(error: Exception) -> int | None:
    """The line of the cell, where Python says it was raised."""
    frames, line = error.__traceback__, None
    while frames is not None:
        if "livedb" not in frames.tb_frame.f_globals.get("__name__", "").split("."):
            line = frames.tb_lineno
        frames = frames.tb_next
    return line


def _without_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_ids(each) for each in value]
    if isinstance(value, dict):
        return {
            key: _without_ids(each)
            for key, each in value.items()
            if key not in {"_id", "_creationTime"}
        }
    return value


def delivered(shipment: dict[str, Any], arguments: dict[str, Any]) -> str:
    """What the last function of a shipment gives on a service that has just unpacked it."""
    db = restored(shipment["state"])
    try:
        functions = [arrive(db, bytes.fromhex(parcel)) for parcel in shipment["parcels"]]
        return outcome(functions[-1], arguments)
    finally:
        db.close()
