"""What livedb's own client asks of a workspace beside calling functions: the component `livedb`.

Blocking: called on the hub's threads. Arguments and results are values; what is better sent as
bytes, such as Arrow, comes as attachments. Each verb asks for its permission first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw

from livedb.auth.access import Caller, Permission, Role
from livedb.canonical import canonical
from livedb.errors import FunctionNotFoundError, FunctionTypeError, InvalidValueError, LimitError
from livedb.functions.call import Call
from livedb.functions.definition import FunctionKind, a_kind
from livedb.functions.table_functions import table_function
from livedb.live.live_query import Computed, LiveSource, LiveState
from livedb.live.result import ipc_bytes
from livedb.live.sources import EVERYBODY, FunctionSource, InlineSource, SqlSource
from livedb.protocol.codecs import PACK
from livedb.protocol.effects import Failure, Success
from livedb.schema.tables import TableDefinition
from livedb.service.access import Access
from livedb.service.definition_calls import DefinitionCalls
from livedb.service.downloads import PART_BYTES_MAX, Downloads
from livedb.service.functions import own_permission, read_object, registered_name
from livedb.service.past_calls import PastCalls
from livedb.service.snapshots import Snapshots
from livedb.service.uploads import Uploads
from livedb.service.verb_arguments import Answer, Asked, Follower, Given
from livedb.text import encode_value
from livedb.values import Value
from livedb.workspace import Workspace

if TYPE_CHECKING:
    from livedb.functions.definition import FunctionDefinition
    from livedb.live.folded_sql import FoldedSql
    from livedb.past.view import Past

RESULT_BYTES_MAX = 512 << 20
"""Bytes of the rows of one SQL statement that are sent; more are refused."""


ACT = "act"
"""The verb that runs an action; told by its name, as it takes a thread of other ones."""

_READS_OF_THE_PAST = frozenset(
    {"call", "catalog", "counts", "documents", "export", "hidden", "page", "sql", "table"}
)
"""Verbs that can be of an earlier commit."""

_TS_DIGITS_MAX = 19
"""Digits of a timestamp in nanoseconds, until the year 2262."""

_LOOK_S = 0.5
"""Between two looks of a waiting caller at whether the workspace is still open."""


class WorkspaceCalls:
    """The verbs of one workspace.

    Args:
        cancel: cancels the action of a connection that has this request id, if it has not ended.
    """

    def __init__(
        self,
        workspace: Workspace,
        access: Access,
        cancel: Callable[[Follower | None, int], None],
    ) -> None:
        self._workspace = workspace
        self._access = access
        self._cancel_action = cancel
        self._uploads = Uploads(workspace.clock)
        self._downloads = Downloads(workspace.files.staging, workspace.clock)
        self._snapshots = Snapshots(workspace)
        self._past_calls = PastCalls(workspace)
        self._definitions = DefinitionCalls(workspace, access)
        self._verbs: dict[str, tuple[Permission, Callable[..., Answer]]] = {
            "call": (Permission.QUERY, self._query),
            ACT: (Permission.QUERY, self._act),
            "cancel": (Permission.QUERY, self._cancel),
            "table": (Permission.QUERY, self._table),
            "sql": (Permission.SQL, self._sql),
            "describe": (Permission.QUERY, self._definitions.describe),
            "define": (Permission.DEFINE, self._definitions.define),
            "lacking": (Permission.DEFINE, self._definitions.lacking),
            "tables": (Permission.CHANGE_SCHEMA, self._apply_tables),
            "drop": (Permission.CHANGE_SCHEMA, self._drop),
            "documents": (Permission.SQL, self._documents),
            "counts": (Permission.READ_TABLES, self._counts),
            "page": (Permission.READ_TABLES, self._page),
            "hidden": (Permission.SQL, self._hidden),
            "upload": (Permission.LOAD, self._upload),
            "load": (Permission.LOAD, self._load),
            "export": (Permission.LOAD, self._export),
            "backup": (Permission.BACK_UP, self._backup),
            "download": (Permission.LOAD, self._download),
            "downloaded": (Permission.LOAD, self._downloaded),
            "store_file": (Permission.LOAD, self._store_file),
            "file_size": (Permission.READ_TABLES, self._file_size),
            "read_file": (Permission.READ_TABLES, self._read_file),
            "file_url": (Permission.READ_TABLES, self._file_url),
            "get_file": (Permission.READ_TABLES, self._get_file),
            "list_files": (Permission.READ_TABLES, self._list_files),
            "delete_file": (Permission.WRITE_TABLES, self._delete_file),
            "pin": (Permission.QUERY, self._pin),
            "unpin": (Permission.QUERY, self._unpin),
            "catalog": (Permission.QUERY, self._definitions.catalog),
            "states": (Permission.QUERY, self._states),
            "sync": (Permission.QUERY, self._sync),
            "recognise": (Permission.QUERY, self._recognise),
            "refresh": (Permission.QUERY, self._refresh),
            "work": (Permission.QUERY, self._work),
            "statistics": (Permission.QUERY, self._statistics),
            "activity": (Permission.READ_TABLES, self._activity),
            "changes": (Permission.READ_TABLES, self._changes),
            "past": (Permission.READ_TABLES, self._past),
            "history": (Permission.READ_TABLES, self._history),
            "changed": (Permission.READ_TABLES, self._changed),
            "undo": (Permission.WRITE_TABLES, self._undo),
            "invite": (Permission.INVITE, self._invite),
            "invitations": (Permission.INVITE, self._invitations),
            "revoke": (Permission.INVITE, self._revoke),
        }

    def run(
        self,
        given: Given,
        args: Raw,
        call: Call,
        caller: Caller | None,
    ) -> Success:
        """Do what a verb says, at the commit of a snapshot if it names one.

        Args:
            given: the verb, whose arguments are still to be read.
            args: those.

        Raises: whatever it does; FunctionNotFoundError for an unknown verb.
        """
        verb = given.verb
        known = self._verbs.get(verb)
        if known is None:
            raise FunctionNotFoundError(f"A workspace has no verb {verb!r}")
        permission, work = known
        self._access.require(caller, permission)
        payload = PACK.read_payload(args)
        given.fields = read_object(PACK.read(args))
        name = given.optional("snapshot")
        with ExitStack() as stack:
            if name is not None:
                stack.enter_context(self._snapshots.holding(str(name)))
            if given.optional("at") is not None:
                given.past = stack.enter_context(self._reading(verb, given, caller))
            answer = work(given, payload.attachments, call, caller)
        value = PACK.write_payload(encode_value(canonical(answer.value)), list(answer.attachments))
        return Success(value, tuple(call.log_lines), answer.ts)

    def _reading(
        self, verb: str, given: Given, caller: Caller | None
    ) -> AbstractContextManager[Past]:
        """The commit that a read is to be of."""
        self._access.require(caller, Permission.READ_TABLES)
        if verb not in _READS_OF_THE_PAST:
            raise InvalidValueError(f"{verb} is of the newest commit, and no read of the past")
        pasts = self._workspace.pasts
        return pasts.reading(pasts.number_of(given.whole("at")))

    def close(self) -> None:
        """Forget the loads that were arriving, and what was being fetched or held."""
        self._snapshots.close()
        self._uploads.close()
        self._downloads.close()

    def leave(self, connection: Follower | None) -> None:
        """A connection has ended: end what it holds."""
        self._snapshots.leave(connection)

    # -- functions -----------------------------------------------------------------------------

    def _query(self, given: Given, _: Any, call: Call, caller: Caller | None) -> Answer:
        """Run a query by name.

        A mutation comes as a message of its own, which has an id, and so happens once.
        """
        return self._call("query", given, call, caller)

    def _act(self, given: Given, _: Any, call: Call, caller: Caller | None) -> Answer:
        """Run an action by name."""
        return self._call("action", given, call, caller)

    def _cancel(self, given: Given, *_: Any) -> Answer:
        """Cancel an action that this connection asked for."""
        self._cancel_action(given.connection, given.whole("request"))
        return Answer()

    def _call(self, kind: FunctionKind, given: Given, call: Call, caller: Caller | None) -> Answer:
        """Run a function by name, if it is of the kind that the client took it for."""
        workspace = self._workspace
        name = given.text("name")
        given.call_named(name, kind)
        function = self._visible(name, caller)
        if function.kind != kind:
            raise FunctionTypeError(
                f"{function.name!r} is called as {a_kind(kind)}, and is {a_kind(function.kind)}"
            )
        self._access.require_kind(caller, function.kind)
        past = given.past
        tables = (
            workspace.committer.catalog_at(workspace.committer.published)
            if past is None
            else past.catalog
        )
        args = function.check_arguments(given.object("args"), tables=tables)
        return self._run(function, args, call, past)

    def _visible(self, name: str, caller: Caller | None) -> FunctionDefinition:
        """The function of that name; which internal ones there are only administrators learn."""
        registry = self._workspace.registry
        needed = own_permission(name)
        if needed is not None:
            self._access.require(caller, needed)
        if self._access.is_admin(caller):
            return registry.get(name)
        found = registry.find(name)
        if found is None or found.visibility != "public":
            raise FunctionNotFoundError(f"Could not find public function for '{name}'.")
        return found

    def _table(self, given: Given, _: Any, call: Call, caller: Caller | None) -> Answer:
        """Run a verb of a table."""
        function = table_function(given.text("verb"), given.text("name"))
        writes = function.kind == "mutation"
        self._access.require(caller, Permission.WRITE_TABLES if writes else Permission.READ_TABLES)
        return self._run(function, given.object("args"), call, given.past)

    def _run(
        self, function: FunctionDefinition, args: Any, call: Call, past: Past | None
    ) -> Answer:
        if past is not None:
            return Answer(self._workspace.runner.run_past(function, args, past, call))
        return Answer(self._workspace.runner.run_alone(function, args, call), ts=call.ts)

    def _pin(self, given: Given, *_: Any) -> Answer:
        """Keep a commit readable, which the client names `snapshot` in what it asks: see `run`."""
        number = None if given.optional("number") is None else given.whole("number")
        return Answer(self._snapshots.pin(given.text("name"), number, given.connection))

    def _unpin(self, given: Given, *_: Any) -> Answer:
        self._snapshots.unpin(given.text("name"))
        return Answer()

    # -- data ----------------------------------------------------------------------------------

    def _sql(self, given: Given, *_: Any) -> Answer:
        table, number = self._sql_of(given).read(given.text("text"), given.optional("params"))
        if table.nbytes > RESULT_BYTES_MAX:
            raise LimitError(
                f"The rows of this statement take {table.nbytes:,} bytes, and a service sends at "
                f"most {RESULT_BYTES_MAX:,} at once. Select fewer rows or columns, or aggregate.",
                code="ResultTooLarge",
            )
        return Answer(number, (ipc_bytes(table),))

    def _apply_tables(
        self, _: Any, parcels: list[bytes], __: Call, caller: Caller | None
    ) -> Answer:
        definitions = [TableDefinition.from_json(msgspec.json.decode(each)) for each in parcels]
        author = None if caller is None else caller.name
        return Answer(self._workspace.apply_tables(definitions, author=author))

    def _drop(self, given: Given, *_: Any) -> Answer:
        return Answer(self._workspace.drop_table(given.text("table")))

    def _documents(self, given: Given, *_: Any) -> Answer:
        sql = self._sql_of(given)
        return Answer(sql.documents(given.text("table"), limit=given.optional("limit")))

    def _counts(self, given: Given, *_: Any) -> Answer:
        # As pairs: a table may have a name that no field can have.
        return Answer([[name, n] for name, n in self._sql_of(given).counts().items()])

    def _sql_of(self, given: Given) -> FoldedSql:
        """What reads tables, as they are or as they were."""
        self._workspace.require_open()
        return self._workspace.folded_sql if given.past is None else given.past.sql

    def _page(self, given: Given, *_: Any) -> Answer:
        found = self._sql_of(given).page(
            given.text("table"),
            limit=given.whole("limit"),
            is_descending=bool(given.optional("is_descending")),
        )
        return Answer(found)

    def _hidden(self, given: Given, *_: Any) -> Answer:
        return Answer(list(self._sql_of(given).hidden_fields(given.text("table"))))

    def _upload(self, given: Given, pieces: list[bytes], *_: Any) -> Answer:
        """Take a part of an Arrow stream or a file; what is to become of it is said at the end."""
        return Answer(self._uploads.add(given.text("upload"), given.whole("part"), pieces))

    def _load(self, given: Given, *_: Any) -> Answer:
        from livedb.interchange.sources import source_of_stream

        table, keep_ids = given.text("table"), bool(given.optional("keep_ids"))
        rows, number = self._uploads.load(
            given.text("upload"),
            lambda file: self._workspace.load(table, source_of_stream(file), keep_ids=keep_ids),
        )
        return Answer([rows, number])

    def _export(self, given: Given, *_: Any) -> Answer:
        """Write a table as a file, for the client to fetch."""
        from livedb.interchange.exports import format_of
        from livedb.transfer import export_table

        table, form = given.text("table"), format_of(Path(f"x.{given.text('format')}"))

        def work(folder: Path) -> Value:
            result, hidden = export_table(
                self._workspace, table, folder / "rows", format=form, sql=self._sql_of(given)
            )
            return [result.number, result.rows, list(hidden)]

        made, files = self._downloads.make(given.text("download"), work)
        return Answer([made, [list(each) for each in files]])

    def _backup(self, given: Given, *_: Any) -> Answer:
        """Make a backup, for the client to fetch."""
        made, files = self._downloads.make(given.text("download"), self._workspace.backup)
        return Answer([made, [list(each) for each in files]])

    def _download(self, given: Given, *_: Any) -> Answer:
        """A part of a file that was made for the client."""
        part = self._downloads.read(
            given.text("download"), given.whole("file"), given.whole("start")
        )
        return Answer(None, (part,))

    def _downloaded(self, given: Given, *_: Any) -> Answer:
        """The client has what was made for it."""
        self._downloads.drop(given.text("download"))
        return Answer()

    # -- files ---------------------------------------------------------------------------------

    def _store_file(self, given: Given, *_: Any) -> Answer:
        """Make a file of what was uploaded."""
        kind, sha256 = given.optional("content_type"), given.optional("sha256")
        files = self._workspace.file_storage
        stored = self._uploads.load(
            given.text("upload"),
            lambda file: files.put(file, content_type=kind, sha256=sha256),
        )
        return Answer(stored)

    def _file_size(self, given: Given, *_: Any) -> Answer:
        with self._workspace.file_storage.open_file(given.text("id")) as file:
            return Answer(file.seek(0, SEEK_END))

    def _read_file(self, given: Given, *_: Any) -> Answer:
        """Bytes of a file."""
        with self._workspace.file_storage.open_file(given.text("id")) as file:
            file.seek(given.whole("start"))
            return Answer(None, (file.read(min(given.whole("size"), PART_BYTES_MAX)),))

    def _file_url(self, given: Given, *_: Any) -> Answer:
        return Answer(self._workspace.file_storage.url(given.text("id")))

    def _get_file(self, given: Given, *_: Any) -> Answer:
        found = self._workspace.file_storage.get(given.text("file"))
        return Answer(None if found is None else dict(found))

    def _list_files(self, given: Given, *_: Any) -> Answer:
        found, following = self._workspace.file_storage.page(given.optional("cursor"))
        return Answer([[dict(each) for each in found], following])

    def _delete_file(self, given: Given, *_: Any) -> Answer:
        self._workspace.file_storage.delete(given.text("id"))
        return Answer()

    def _sync(self, given: Given, *_: Any) -> Answer:
        """The timestamp of the newest commit, when all that follows from it has been told.

        So whatever a caller did before, a function defined anew included, is in a transition that
        the client has before this answer.
        """
        told = threading.Event()
        live, follower = self._workspace.live, given.connection

        def tell(_: int) -> None:
            if follower is None or not live.lagging:
                told.set()
            else:
                follower.when_level(told.set)

        live.ask(tell)
        while not told.wait(_LOOK_S):
            self._workspace.require_open()
        version, number, _catalog = self._definitions.version()
        ts = self._workspace.committer.ts_of(number)
        return Answer(self._definitions.stands(version, number), ts=ts)

    def _recognise(self, given: Given, *_: Any) -> Answer:
        """None if this is the workspace in which a client has seen a commit; else why not."""
        ts = given.text("ts")
        if not (ts.isascii() and ts.isdigit() and len(ts) <= _TS_DIGITS_MAX):
            raise InvalidValueError("recognise: 'ts' is the digits of a timestamp", path=".ts")
        if self._workspace.log.holds(int(ts)):
            return Answer()
        if self._workspace.path is None:
            return Answer("a workspace in memory ends with its process, and this one began later")
        return Answer("a backup was put in its place, say, or another workspace is served there")

    def _refresh(self, given: Given, *_: Any) -> Answer:
        """Run the live queries of a function again although no data they read has changed."""
        self._workspace.invalidate_functions([given.text("name")])
        return Answer()

    def _work(self, given: Given, _: Any, __: Any, caller: Caller | None) -> Answer:
        """What the live query of a client costs: what it follows, with its arguments."""
        asked = Asked(given.text("path"), given.optional("of"), given.object("args"))
        mine = None if caller is None else caller.identity
        # Which of the two it is, its function decides.
        keys = {self._source(asked, each, caller).key for each in (EVERYBODY, mine)}
        work = self._workspace.live.work_of(keys)
        return Answer([work.runs, work.run_s, list(work.reads)])

    def _states(self, given: Given, _: Any, __: Any, caller: Caller | None) -> Answer:
        """What a client follows, at the commit of its snapshot: each is run for it."""
        held = self._workspace.folded_sql.held()
        if held is None:
            raise InvalidValueError("states: they are those at a snapshot, and none is named")
        identity = None if caller is None else caller.identity
        states = [
            given.dialect.state(_state_of(source.compute(held.number)), None)
            for source in [
                self._source(asked, identity, caller) for asked in given.followed("asked")
            ]
        ]
        described: Value = [[isinstance(each, Success), list(each.log_lines)] for each in states]
        return Answer(described, tuple(bytes(_raw_of(each)) for each in states))

    def _source(self, asked: Asked, identity: Any, caller: Caller | None) -> LiveSource:
        """What a client follows, as `identity`."""
        workspace, args = self._workspace, asked.args
        if asked.of is None:
            return FunctionSource(
                workspace.runner,
                registered_name(workspace.registry, asked.path),
                args,
                identity=identity,
                is_public_only=not self._access.is_admin(caller),
            )
        self._access.require(caller, Permission.SQL)
        if asked.path == "sql":
            return SqlSource(workspace.folded_sql, str(args.get("text")), args.get("params"))
        function = table_function(str(args.get("verb")), str(args.get("name")))
        given: Any = args.get("args")
        return InlineSource(workspace.runner, function, given)

    def _statistics(self, *_: Any) -> Answer:
        found = self._workspace.statistics()
        return Answer(
            {
                "applied": found.applied,
                "durable": found.durable,
                "published": found.published,
                "folded": found.folded,
                "live": dict(found.live),
                "runs": dict(found.runs),
                "row_memory_bytes": found.row_memory_bytes,
            }
        )

    def _activity(self, *_: Any) -> Answer:
        return Answer(None, (msgspec.json.encode(self._workspace.activity.report()),))

    def _changes(self, given: Given, *_: Any) -> Answer:
        """What one commit changed."""
        changes = self._workspace.activity.changes(given.whole("number"))
        return Answer(None, (msgspec.json.encode(changes),))

    # -- the past ------------------------------------------------------------------------------

    def _past(self, given: Given, *_: Any) -> Answer:
        return Answer(self._past_calls.past(given.fields))

    def _history(self, given: Given, *_: Any) -> Answer:
        return Answer(None, self._past_calls.history(given.fields))

    def _changed(self, given: Given, *_: Any) -> Answer:
        return Answer(*self._past_calls.changed(given.fields))

    def _undo(self, given: Given, _: Any, __: Call, caller: Caller | None) -> Answer:
        author = None if caller is None else caller.name
        return Answer(self._past_calls.undo(given.fields, author))

    # -- sharing -------------------------------------------------------------------------------

    def _invite(self, given: Given, _: Any, __: Call, caller: Caller | None) -> Answer:
        """A new access token, which travels this once."""
        secret, token = self._workspace.invitations.issue(
            Role(given.text("role")),
            given.text("name"),
            expires_s=given.optional("expires_s"),
            author=None if caller is None else caller.name,
        )
        return Answer(
            {"secret": secret, "url": self._workspace.served_at, "token": token.to_json()}
        )

    def _invitations(self, *_: Any) -> Answer:
        return Answer([token.to_json() for token in self._workspace.invitations.kept()])

    def _revoke(self, given: Given, _: Any, __: Call, caller: Caller | None) -> Answer:
        author = None if caller is None else caller.name
        return Answer(self._workspace.invitations.revoke(given.text("id"), author=author).to_json())


def _state_of(computed: Computed) -> LiveState:
    result, error, number = computed.result, computed.error, computed.number
    return LiveState(result=result, error=error, number=number, log_lines=computed.log_lines)


def _raw_of(state: Success | Failure) -> Raw:
    if isinstance(state, Success):
        return state.value
    assert state.data is not UNSET, "our own dialect sends what an error is made of"
    return state.data
