"""livedb: a live data workspace for notebooks.

    import livedb

    db = livedb.open("shop.livedb")

Everything a user needs is here; heavy libraries are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livedb.errors import (
    ApplicationError,
    ArgumentValidationError,
    AuthenticationError,
    ClosedError,
    ConflictError,
    DamagedError,
    DisconnectedError,
    DuplicateMutationError,
    FileError,
    FilterError,
    FoldError,
    ForkedError,
    FormatError,
    FunctionCancelledError,
    FunctionLoadError,
    FunctionNotFoundError,
    FunctionTimeoutError,
    FunctionTypeError,
    HandleError,
    IdentityProviderError,
    IndexRangeError,
    InvalidIdError,
    InvalidValueError,
    LimitError,
    LivedbError,
    LoadError,
    LogError,
    MemoryBudgetError,
    NonexistentDocumentError,
    NotUniqueError,
    PaginationError,
    PastTooOldError,
    PermissionDeniedError,
    ReadOnlyError,
    RemoteError,
    ReturnsValidationError,
    RouteError,
    SchemaChangeError,
    SchemaDefinitionError,
    SchemaEnforcementError,
    SearchError,
    SnapshotTooOldError,
    SqlError,
    TransientError,
    TravelError,
    UndoError,
    UniqueError,
    ValidationError,
    WorkspaceError,
    WorkspaceGoneError,
    WorkspaceLockedError,
)
from livedb.ids import Id
from livedb.limits import Limits
from livedb.values import UNSET, Document, Int64, Missing
from livedb.version import VERSION

if TYPE_CHECKING:
    import os

    from livedb.client.database import Database
    from livedb.client.functions import Action, Mutation, Query
    from livedb.client.table import Table
    from livedb.functions.action_context import ActionContext, AsyncActionContext
    from livedb.functions.context import MutationContext, QueryContext
    from livedb.functions.cors import Cors
    from livedb.functions.crons import cron_jobs
    from livedb.functions.definition import (
        action,
        internal_action,
        internal_mutation,
        internal_query,
        mutation,
        query,
    )
    from livedb.functions.http_routes import HttpRouter, http_action
    from livedb.notebook.dashboard import dashboard
    from livedb.notebook.formats import column
    from livedb.notebook.handles import Handle
    from livedb.notebook.sql_result import SqlResult
    from livedb.repairing import RepairReport
    from livedb.schema.namespace import v
    from livedb.schema.search_indexes import search_index, vector_index
    from livedb.schema.tables import define_schema, define_table
    from livedb.service.http_messages import AsyncHttpRequest, HttpRequest, json_response

__version__ = VERSION

_LAZY = {
    "Action": "livedb.client.functions",
    "ActionContext": "livedb.functions.action_context",
    "AsyncActionContext": "livedb.functions.action_context",
    "AsyncHttpRequest": "livedb.service.http_messages",
    "Cors": "livedb.functions.cors",
    "Database": "livedb.client.database",
    "Handle": "livedb.notebook.handles",
    "HttpRequest": "livedb.service.http_messages",
    "HttpRouter": "livedb.functions.http_routes",
    "Mutation": "livedb.client.functions",
    "MutationContext": "livedb.functions.context",
    "Query": "livedb.client.functions",
    "QueryContext": "livedb.functions.context",
    "SqlResult": "livedb.notebook.sql_result",
    "Table": "livedb.client.table",
    "column": "livedb.notebook.formats",
    "dashboard": "livedb.notebook.dashboard",
    "define_schema": "livedb.schema.tables",
    "define_table": "livedb.schema.tables",
    "action": "livedb.functions.definition",
    "cron_jobs": "livedb.functions.crons",
    "http_action": "livedb.functions.http_routes",
    "internal_action": "livedb.functions.definition",
    "internal_mutation": "livedb.functions.definition",
    "internal_query": "livedb.functions.definition",
    "json_response": "livedb.service.http_messages",
    "mutation": "livedb.functions.definition",
    "query": "livedb.functions.definition",
    "search_index": "livedb.schema.search_indexes",
    "vector_index": "livedb.schema.search_indexes",
    "v": "livedb.schema.namespace",
    # What a Jupyter server asks of a package that it is told to load.
    "_jupyter_server_extension_points": "livedb.jupyter",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'livedb' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext livedb`: the cell magics `%%sql` and `%%live`, whoever else has these names.

    Opening a workspace offers them, too, where nobody has.
    """
    from livedb.notebook.magics import load

    load(shell)


def open(  # noqa: A001  # livedb.open is the name users expect
    path: str | os.PathLike[str] | None = None,
    *,
    limits: Limits | None = None,
    shared: bool = False,
    files: str | None = None,
) -> Database:
    """Open a workspace: a folder, made if absent, or memory without a path (or ":memory:").

    Opening a path that this process has open already gives the same workspace, with its limits.
    One that another process of yours has open and serves (`db.serve()` there, or `livedb serve`) is
    used through that process.

    Args:
        shared: leave it to a background process of its own, which is started if there is none,
            serves all who open it so, and ends some minutes after the last one left. Give it in
            every notebook that uses the workspace.
        files: the object store that the contents of files lie in, such as `s3://bucket/prefix`
            (`gs://`, `az://`, `file:///folder`), instead of the workspace's folder; for a workspace
            that has no files yet, which remembers it. Credentials come from the environment.

    Raises:
        WorkspaceLockedError: another process has it open and does not serve it; the error names it.
        DamagedError: its files do not agree; `livedb.repair(path)` says what is left.
        FormatError: the path is something else, or a newer livedb made it.
        WorkspaceError: this process has it open with other limits than those given, or the process
            that serves it runs another version of livedb, or its files lie elsewhere.
        FileError: the object store cannot be used.
    """
    from livedb.sharing.opening import open_database, open_shared

    if shared:
        return open_shared(path, limits=limits, files=files)
    return open_database(path, limits=limits, files=files)


def connect(url: str, *, token: str | None = None, jupyter_token: str | None = None) -> Database:
    """Connect to a workspace on a service; what is given is used as that of `open`.

    Args:
        url: where it is, such as `http://127.0.0.1:3210`, or the link of an invitation. Behind a
            Jupyter server `http://host:8888/livedb/<path of the workspace>`, also with `?token=`.
        token: an access token, or a user's; it is never shown. Behind a Jupyter server one that is
            plainly neither is taken for the server's.
        jupyter_token: what the Jupyter server lets in; it is never shown either.

    Raises:
        DisconnectedError: nothing answers there.
        AuthenticationError: the service, or the Jupyter server, does not accept the token.
        WorkspaceError: the Jupyter server has no workspace there.
    """
    from livedb.sharing.opening import connected

    return connected(url, token=token, jupyter_token=jupyter_token)


def repair(path: str | os.PathLike[str]) -> RepairReport:
    """Make a damaged workspace open again, after a backup; returns what was lost."""
    from livedb.repairing import repair_workspace

    return repair_workspace(path)


__all__ = [
    "UNSET",
    "Action",
    "ActionContext",
    "ApplicationError",
    "ArgumentValidationError",
    "AsyncActionContext",
    "AsyncHttpRequest",
    "AuthenticationError",
    "ClosedError",
    "ConflictError",
    "Cors",
    "DamagedError",
    "Database",
    "DisconnectedError",
    "Document",
    "DuplicateMutationError",
    "FileError",
    "FilterError",
    "FoldError",
    "ForkedError",
    "FormatError",
    "FunctionCancelledError",
    "FunctionLoadError",
    "FunctionNotFoundError",
    "FunctionTimeoutError",
    "FunctionTypeError",
    "Handle",
    "HandleError",
    "HttpRequest",
    "HttpRouter",
    "Id",
    "IdentityProviderError",
    "IndexRangeError",
    "Int64",
    "InvalidIdError",
    "InvalidValueError",
    "LimitError",
    "Limits",
    "LivedbError",
    "LoadError",
    "LogError",
    "MemoryBudgetError",
    "Missing",
    "Mutation",
    "MutationContext",
    "NonexistentDocumentError",
    "NotUniqueError",
    "PaginationError",
    "PastTooOldError",
    "PermissionDeniedError",
    "Query",
    "QueryContext",
    "ReadOnlyError",
    "RemoteError",
    "ReturnsValidationError",
    "RouteError",
    "SchemaChangeError",
    "SchemaDefinitionError",
    "SchemaEnforcementError",
    "SearchError",
    "SnapshotTooOldError",
    "SqlError",
    "SqlResult",
    "Table",
    "TransientError",
    "TravelError",
    "UndoError",
    "UniqueError",
    "ValidationError",
    "WorkspaceError",
    "WorkspaceGoneError",
    "WorkspaceLockedError",
    "action",
    "column",
    "connect",
    "cron_jobs",
    "dashboard",
    "define_schema",
    "define_table",
    "http_action",
    "internal_action",
    "internal_mutation",
    "internal_query",
    "json_response",
    "mutation",
    "open",
    "query",
    "repair",
    "search_index",
    "v",
    "vector_index",
]
