"""What livedb's own client asks of a workspace beside calling functions: the component `livedb`.

Blocking: called on the hub's threads. Arguments and results are values; what is better sent as
bytes, such as Arrow, comes as attachments. Each verb asks for its permission first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from livedb.auth.access import Caller, Permission
from livedb.canonical import canonical
from livedb.errors import FunctionNotFoundError, FunctionTypeError, InvalidValueError, LimitError
from livedb.functions.call import Call
from livedb.functions.table_functions import table_function
from livedb.live.result import ipc_bytes
from livedb.protocol.codecs import PACK
from livedb.protocol.server import Success
from livedb.schema.tables import TableDefinition
from livedb.service.access import Access
from livedb.service.functions import read_object
from livedb.text import encode_value
from livedb.travel.parcel import TravellingFunction
from livedb.travel.rebuild import rebuild
from livedb.values import Value
from livedb.workspace import Workspace

if TYPE_CHECKING:
    from livedb.functions.definition import FunctionDefinition

UPLOAD_BYTES_MAX = 4 << 30
"""Bytes of one load that arrive before it is begun."""

UPLOADS_MAX = 8
"""Loads whose rows are arriving at once."""


class Answer(NamedTuple):
    """A verb's result: a value, attachments, and the commit's ts when it committed."""

    value: Value = None
    attachments: tuple[bytes, ...] = ()
    ts: int | None = None


class WorkspaceCalls:
    """The verbs of one workspace."""

    def __init__(self, workspace: Workspace, access: Access) -> None:
        self._workspace = workspace
        self._access = access
        self._uploads: dict[str, list[bytes]] = {}
        self._verbs: dict[str, tuple[Permission, Callable[..., Answer]]] = {
            "call": (Permission.QUERY, self._call),
            "table": (Permission.QUERY, self._table),
            "sql": (Permission.SQL, self._sql),
            "describe": (Permission.QUERY, self._describe),
            "define": (Permission.DEFINE, self._define),
            "tables": (Permission.CHANGE_SCHEMA, self._apply_tables),
            "drop": (Permission.CHANGE_SCHEMA, self._drop),
            "documents": (Permission.SQL, self._documents),
            "counts": (Permission.SQL, self._counts),
            "page": (Permission.SQL, self._page),
            "hidden": (Permission.SQL, self._hidden),
            "upload": (Permission.LOAD, self._upload),
            "load": (Permission.LOAD, self._load),
            "sync": (Permission.QUERY, self._sync),
            "refresh": (Permission.QUERY, self._refresh),
            "statistics": (Permission.QUERY, self._statistics),
        }

    def run(self, verb: str, args: Raw, call: Call, caller: Caller | None) -> Success:
        """Do what a verb says.

        Raises: whatever it does; FunctionNotFoundError for an unknown verb.
        """
        known = self._verbs.get(verb)
        if known is None:
            raise FunctionNotFoundError(f"A workspace has no verb {verb!r}")
        permission, work = known
        self._access.require(caller, permission)
        payload = PACK.read_payload(args)
        given = read_object(PACK.read(args))
        try:
            answer = work(given, payload.attachments, call, caller)
        except (KeyError, TypeError) as error:
            raise InvalidValueError(f"{verb}: {error!r}") from error
        value = PACK.write_payload(encode_value(canonical(answer.value)), list(answer.attachments))
        return Success(value, tuple(call.log_lines), answer.ts)

    # -- functions -----------------------------------------------------------------------------

    def _call(self, given: Any, _: Any, call: Call, caller: Caller | None) -> Answer:
        """Run a query or mutation by name."""
        workspace = self._workspace
        function = workspace.registry.get(given["name"])
        if function.visibility != "public":
            self._access.require(caller, Permission.CALL_INTERNAL)
        self._access.require_kind(caller, function.kind)
        tables = workspace.committer.catalog_at(workspace.committer.published)
        return self._run(function, function.check_arguments(given["args"], tables=tables), call)

    def _table(self, given: Any, _: Any, call: Call, caller: Caller | None) -> Answer:
        """Run a verb of a table."""
        self._access.require(caller, Permission.CALL_INTERNAL)
        function = table_function(given["verb"], given["name"])
        return self._run(function, given["args"], call)

    def _run(self, function: FunctionDefinition, args: Any, call: Call) -> Answer:
        return Answer(self._workspace.runner.run_alone(function, args, call), ts=call.ts)

    def _define(self, given: Any, parcels: list[bytes], _: Call, caller: Caller | None) -> Answer:
        """Define functions that travelled as source; logged when they are `pushed`."""
        workspace = self._workspace
        travelling = [_parcel(each) for each in parcels]
        tables = workspace.committer.catalog_at(workspace.committer.published)
        functions = [rebuild(each, tables=tables, call=self._join) for each in travelling]
        for function in functions:
            workspace.define(function)
        if given.get("pushed"):
            author = None if caller is None else caller.name
            workspace.pushed_functions.log(functions, author=author)
        return Answer([each.name for each in functions])

    def _join(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a function of the workspace inside the run in progress, as a Python call."""
        runner = self._workspace.runner
        run = runner.nested_run()
        if run is None:
            raise FunctionTypeError(f"{name} is called by a helper outside of a function's run")
        function = self._workspace.registry.get(name)
        return runner.join(run, function, function.bind(args, kwargs, tables=run.snapshot.catalog))

    def _describe(self, *_: Any) -> Answer:
        """The tables and functions there are, and the newest commit."""
        workspace = self._workspace
        number = workspace.committer.published
        registry = workspace.registry
        functions = [
            {
                "name": name,
                "kind": each.kind,
                "visibility": each.visibility,
                "signature": each.signature.to_json(),
                "version": each.version,
            }
            for name in registry.names()
            if (each := registry.find(name)) is not None
        ]
        catalog = workspace.committer.catalog_at(number)
        described = {"number": number, "catalog": catalog.to_json(), "functions": functions}
        # As attachment: the names in a schema may be such as no field of a value can have.
        return Answer(number, (msgspec.json.encode(described),))

    # -- data ----------------------------------------------------------------------------------

    def _sql(self, given: Any, *_: Any) -> Answer:
        table, number = self._workspace.sql(given["text"], given["params"])
        return Answer(number, (ipc_bytes(table),))

    def _apply_tables(
        self, _: Any, parcels: list[bytes], __: Call, caller: Caller | None
    ) -> Answer:
        definitions = [TableDefinition.from_json(msgspec.json.decode(each)) for each in parcels]
        author = None if caller is None else caller.name
        return Answer(self._workspace.apply_tables(definitions, author=author))

    def _drop(self, given: Any, *_: Any) -> Answer:
        return Answer(self._workspace.drop_table(given["table"]))

    def _documents(self, given: Any, *_: Any) -> Answer:
        return Answer(self._workspace.documents(given["table"], limit=given["limit"]))

    def _counts(self, *_: Any) -> Answer:
        # As pairs: a table may have a name that no field can have.
        return Answer([[name, n] for name, n in self._workspace.folded_sql.counts().items()])

    def _page(self, given: Any, *_: Any) -> Answer:
        found = self._workspace.folded_sql.page(
            given["table"], limit=given["limit"], is_descending=given["is_descending"]
        )
        return Answer(found)

    def _hidden(self, given: Any, *_: Any) -> Answer:
        return Answer(list(self._workspace.hidden_fields(given["table"])))

    def _upload(self, given: Any, parts: list[bytes], *_: Any) -> Answer:
        """Take a part of an Arrow stream; the load that names it begins when all are here."""
        arrived = self._uploads.setdefault(given["upload"], [])
        if len(self._uploads) > UPLOADS_MAX:
            del self._uploads[given["upload"]]
            raise LimitError(f"{UPLOADS_MAX} loads are arriving already", code="TooManyUploads")
        arrived += parts
        if sum(map(len, arrived)) > UPLOAD_BYTES_MAX:
            del self._uploads[given["upload"]]
            raise LimitError("The load is too large to be sent", code="UploadTooLarge")
        return Answer(len(arrived))

    def _load(self, given: Any, *_: Any) -> Answer:
        from livedb.interchange.sources import source_of_stream

        parts = self._uploads.pop(given["upload"], None)
        if parts is None:
            raise InvalidValueError("There is no such upload")
        source = source_of_stream(b"".join(parts))
        rows, number = self._workspace.load(given["table"], source, keep_ids=given["keep_ids"])
        return Answer([rows, number])

    def _sync(self, *_: Any) -> Answer:
        """The timestamp of the newest commit; the transition that follows is at it or later."""
        committer = self._workspace.committer
        return Answer(str(committer.ts_of(committer.published)))  # an int of 64 bits is no number

    def _refresh(self, given: Any, *_: Any) -> Answer:
        """Run the live queries of a function again although no data they read has changed."""
        self._workspace.invalidate_function(given["name"])
        return Answer()

    def _statistics(self, *_: Any) -> Answer:
        found = self._workspace.statistics()
        return Answer(
            {
                "applied": found.applied,
                "durable": found.durable,
                "published": found.published,
                "folded": found.folded,
                "live": dict(found.live),
                "row_memory_bytes": found.row_memory_bytes,
            }
        )


_parcels = msgspec.msgpack.Decoder(TravellingFunction)


def _parcel(data: bytes) -> TravellingFunction:
    try:
        return _parcels.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise InvalidValueError(f"This is no function that travelled: {error}") from None
