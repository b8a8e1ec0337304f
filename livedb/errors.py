"""Every error livedb raises, in one tree.

    LivedbError
    ├── ApplicationError            the user's own, raised inside a function; travels whole
    ├── RemoteError                 what a function on a service raised
    ├── DisconnectedError           a service that cannot be reached
    ├── InvalidValueError           a value that cannot be stored
    │   └── ValidationError         a value that a validator refuses
    │       ├── ArgumentValidationError
    │       ├── ReturnsValidationError
    │       └── SchemaEnforcementError
    ├── InvalidIdError              text that is no id, or the id of another table
    ├── NonexistentDocumentError    a write to a document that is not there
    ├── PastTooOldError             a past that is no longer kept
    ├── UndoError                   a commit that cannot be undone
    ├── UniqueError                 a second document under one unique key
    ├── NotUniqueError              `unique()` found more than one document
    ├── IndexRangeError             an index named or bounded wrongly
    ├── SearchError                 a search that an index cannot serve
    ├── FilterError                 a filter expression that cannot be evaluated
    ├── PaginationError             a page size or cursor that cannot be used
    ├── ReadOnlyError               a write where only reads are allowed
    ├── SchemaDefinitionError       a schema that contradicts itself
    ├── SchemaChangeError           a schema that existing documents do not fit
    ├── DuplicateMutationError      a mutation id that another commit carries
    ├── FunctionNotFoundError       no such function, or one that is not public
    ├── FunctionTypeError           a function used in a place meant for another kind
    ├── FunctionCancelledError      an action that nobody waits for any more
    ├── RouteError                  a route of HTTP actions that contradicts the rules
    ├── AuthenticationError         a token or key that proves nothing
    ├── PermissionDeniedError       a known caller who may not do this
    ├── TravelError                 a function that cannot travel to a shared workspace
    ├── FunctionLoadError           a module of functions that cannot be loaded
    ├── LimitError                  a limit of `livedb.Limits` was reached
    │   ├── FunctionTimeoutError
    │   └── MemoryBudgetError
    ├── SqlError                    SQL that is wrong, or that the gate refuses
    ├── LoadError                   a source that cannot be loaded or exported
    ├── HandleError                 a live handle read inside a query or mutation
    ├── TransientError              the same call may succeed later
    │   ├── ConflictError           the documents read changed on every try
    │   ├── SnapshotTooOldError     the snapshot is no longer kept
    │   ├── IdentityProviderError   an issuer's keys could not be fetched just now
    │   ├── FileError               the content of a file could not be written, or its store failed
    │   ├── LogError                the commit log could not be written
    │   └── FoldError               DuckDB could not take what the commit log holds
    └── WorkspaceError              the workspace itself
        ├── ClosedError
        │   └── WorkspaceGoneError  a service has another workspace than the one seen there
        ├── ForkedError
        ├── WorkspaceLockedError    another process holds it
        ├── DamagedError            its files do not agree
        └── FormatError             its files are of a newer or foreign format

A class says what a program may catch; `code` is the fine grain, stable for tests and for the wire.
`status` is the HTTP status an edge answers with. A message says what was asked, what was found and
what to do next.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, ClassVar

SERVICE_STARTING = "ServiceStarting"
"""The code of who is told to come again in a moment, when the service it asked for is there."""


DISK_FULL = "DiskFull"
"""The code of what could not be written because the disk is full."""


def is_disk_full(error: OSError) -> bool:
    """Whether it says that a disk, or somebody's share of it, is full."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


class LivedbError(Exception):
    """Base of every error livedb raises.

    Attributes:
        code: stable short name, as on Convex's wire where Convex has one.
        status: the HTTP status an edge answers with.
        is_transient: whether the same call may succeed when made again.
    """

    code: str = "InternalError"
    status: int = 500
    is_transient: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ApplicationError(LivedbError):
    """Raise it in a function to send `data`, any livedb value, to whoever called.

    Source: Convex's `ConvexError`.
    """

    code = "ApplicationError"
    status = 560

    def __init__(self, data: Any) -> None:
        super().__init__(data if isinstance(data, str) else repr(data))
        self.data = data

    def __reduce__(self) -> tuple[type[ApplicationError], tuple[Any]]:
        return (type(self), (self.data,))


class RemoteError(LivedbError):
    """What a function on a service raised that is no class of livedb's; `kind` is its class."""

    code = "RemoteError"

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class DisconnectedError(LivedbError):
    """A service cannot be reached; what was asked may or may not have happened there."""

    code = "Disconnected"
    status = 503


class InvalidValueError(LivedbError):
    """A value that livedb cannot store; `path` says where in the value, such as `.tags[2]`."""

    code = "InvalidValue"
    status = 400

    def __init__(self, message: str, *, path: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.path = path

    def put_at(self, step: str) -> None:
        """Say that the value is the part `step`, such as `[1]`, of what was given."""
        self.path = f"{step}{self.path}"
        self.message = f"{step}: {self.message}"
        self.args = (self.message,)


class ValidationError(InvalidValueError):
    """A value that a validator refuses; `path` says where, `kind` says why.

    `kind` is one of NoMatch, LiteralValuesDoNotMatch, MissingRequiredField, ExtraField,
    TableNamesDoNotMatch, SystemTableReference, NotIntegral, OutOfRange.
    """

    code = "ValidationError"

    def __init__(
        self, message: str, *, path: str = "", kind: str = "NoMatch", code: str | None = None
    ) -> None:
        super().__init__(message, path=path, code=code)
        self.kind = kind


class ArgumentValidationError(ValidationError):
    """An argument that the function's args validator refuses."""

    code = "ArgumentValidationError"


class ReturnsValidationError(ValidationError):
    """A result that the function's returns validator refuses; a mutation is rolled back."""

    code = "ReturnsValidationError"
    status = 500


class SchemaEnforcementError(ValidationError):
    """A document that its table's schema refuses; nothing was written."""

    code = "SchemaEnforcementError"


class InvalidIdError(LivedbError):
    """Text that is not an id, or an id of another table than the one asked for."""

    code = "InvalidIdError"
    status = 400


class NonexistentDocumentError(LivedbError):
    """A patch, replace or delete of a document that is not there."""

    code = "NonexistentDocument"
    status = 404


class PastTooOldError(LivedbError):
    """The past asked for is no longer kept; `number` is the oldest commit that can be read."""

    code = "PastTooOld"
    status = 410

    def __init__(self, message: str, *, number: int) -> None:
        super().__init__(message)
        self.number = number


class UndoError(LivedbError):
    """A commit that cannot be undone, and nothing was changed.

    Attributes:
        code: why: "ChangedSince" (`ids` names documents that later commits wrote), "NothingToUndo",
            "TablesChanged", "SystemDocuments", "TooManyDocuments" or "DoesNotFit" (the documents of
            then do not fit the tables of now).
    """

    code = "UndoRefused"
    status = 409

    def __init__(self, message: str, *, code: str, ids: Sequence[str] = ()) -> None:
        super().__init__(message, code=code)
        self.ids = tuple(ids)


class UniqueError(LivedbError):
    """A second document under one key of a unique index; `existing_id` is the first one's."""

    code = "UniqueError"
    status = 409

    def __init__(self, message: str, *, index: str, existing_id: str | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.existing_id = existing_id


class NotUniqueError(LivedbError):
    """`unique()` found more than one document."""

    code = "NotUnique"
    status = 400


class IndexRangeError(LivedbError):
    """An index that does not exist, or bounds that it cannot serve (`code` says which)."""

    code = "InvalidIndexRange"
    status = 400


class SearchError(LivedbError):
    """A text or vector search that its index cannot serve (`code` says why).

    Codes, as Convex has them: MissingSearchFilterError, DuplicateSearchFiltersError,
    IncorrectSearchField, IncorrectFilterFieldError, TooManyFilterConditionsInSearchQueryError,
    SearchQueryScannedTooManyDocumentsError, VectorDimensionsMismatch, VectorLimitTooLargeError; and
    InvalidSearchFilter, InvalidVector, InvalidVectorLimit, InvalidSearchOrder.
    """

    code = "InvalidSearch"
    status = 400


class FilterError(LivedbError):
    """A filter expression that cannot be evaluated, such as text plus number."""

    code = "EvalError"
    status = 400


class PaginationError(LivedbError):
    """A page size or a cursor that cannot be used (`code` says which)."""

    code = "InvalidCursor"
    status = 400


class ReadOnlyError(LivedbError):
    """A write in a query, in a snapshot, or to a system table."""

    code = "ReadOnlyTable"
    status = 400


class SchemaDefinitionError(LivedbError):
    """A schema, table or index definition that contradicts itself or the rules for names."""

    code = "SchemaDefinitionError"
    status = 400


class SchemaChangeError(LivedbError):
    """A schema change that existing documents do not fit; nothing was changed.

    Attributes:
        ids: up to 10 ids of documents that do not fit.
        count: how many do not fit.
    """

    code = "SchemaChangeError"
    status = 409

    def __init__(self, message: str, *, table: str, ids: Sequence[str], count: int) -> None:
        super().__init__(message)
        self.table = table
        self.ids = tuple(ids)
        self.count = count


class DuplicateMutationError(LivedbError):
    """A mutation id that is taken by another commit; nothing was written."""

    code = "DuplicateMutation"
    status = 409


class FunctionNotFoundError(LivedbError):
    """No function of that name, or none that this caller may call."""

    code = "FunctionPathNotFound"
    status = 404


class FunctionTypeError(LivedbError):
    """A query called as a mutation, a mutation inside a query, and the like."""

    code = "FunctionPathWrongType"
    status = 400


class FunctionCancelledError(LivedbError):
    """An action whose caller was cancelled and which may not go on; what it committed stays."""

    code = "FunctionCancelled"
    status = 503


class RouteError(LivedbError):
    """A route of HTTP actions that contradicts the rules (`code` says which), or another route."""

    code = "InvalidRoute"
    status = 400


class AuthenticationError(LivedbError):
    """A token or key that proves nothing (`code` says why); its text is never in the message.

    Codes, as Convex has them: InvalidAuthHeader (no token at all), Unauthenticated (one that does
    not verify), IdTokenExpired, NoAuthProvider, AuthProviderDiscoveryFailed (its issuer's keys
    cannot be had).
    """

    code = "Unauthenticated"
    status = 401


class PermissionDeniedError(LivedbError):
    """A known caller whose role does not allow what was asked; nothing was done."""

    code = "Forbidden"
    status = 403


class TravelError(LivedbError):
    """A function of a cell that cannot travel to a shared workspace, or not be rebuilt there.

    The message names what cannot travel and the line that uses it. `code` "ModuleMissing" says that
    the service lacks a module, "TravelTooLarge" that a bound is passed, "BadParcel" that what came
    was no function.
    """

    code = "CannotTravel"
    status = 400


class FunctionLoadError(LivedbError):
    """A folder of functions that cannot be loaded; the functions loaded before stay as they were.

    Attributes:
        file: the file that is wrong, None if it is none.
        line: its line, None if unknown.
    """

    code = "FunctionLoadError"
    status = 400

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


class LimitError(LivedbError):
    """A limit was reached (`code` says which); see `livedb.Limits` to raise it."""

    code = "TooManyReads"
    status = 400


class FunctionTimeoutError(LimitError):
    """A function ran longer than its time limit and was stopped; nothing was written."""

    code = "FunctionTimeout"
    status = 503


class MemoryBudgetError(LimitError):
    """A table too large for functions to hold in memory; SQL over it still works."""

    code = "MemoryBudget"
    status = 507


class SqlError(LivedbError):
    """SQL that is wrong (`code` "SqlError") or not allowed ("SqlRefused")."""

    code = "SqlError"
    status = 400


class LoadError(LivedbError):
    """A source that cannot be loaded, or a target that cannot be written; nothing was changed."""

    code = "LoadError"
    status = 400


class HandleError(LivedbError):
    """A live handle that was read inside a query or mutation; call the query itself there."""

    code = "HandleError"
    status = 400


class TransientError(LivedbError):
    """Something that passes: making the same call again may succeed.

    Its `status` is 503, and 507 where the `code` is "DiskFull": then somebody must make room first.
    """

    status = 503
    is_transient = True

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        if code == DISK_FULL:
            self.status = 507


class ConflictError(TransientError):
    """What a mutation read was changed by others on every try; nothing was written.

    Attributes:
        table: the table read.
        index: the index read.
        number: the commit that changed it.
    """

    code = "OptimisticConcurrencyControlFailure"

    def __init__(self, message: str, *, table: str = "", index: str = "", number: int = 0) -> None:
        super().__init__(message)
        self.table = table
        self.index = index
        self.number = number


class SnapshotTooOldError(TransientError):
    """The commit asked for is no longer kept in memory."""

    code = "SnapshotTooOld"


class IdentityProviderError(TransientError):
    """An issuer's keys could not be fetched just now, so its tokens cannot be told true or false.

    The caller is neither known nor refused: let it come again, with the same token.
    """

    code = "AuthProviderUnavailable"


class FileError(TransientError):
    """The content of a file could not be written (`code` "DiskFull" when the disk is full).

    Nothing of it was kept. With `code` "StoreFailed" the object store that files lie in failed, at
    a write or a read; what was stored before is not lost by that.
    """

    code = "FileFailed"


class LogError(TransientError):
    """The commit log could not be written (`code` "DiskFull" when the disk is full).

    Nothing of the transaction was kept; reads go on, writes work again when the log can be written.
    With `code` "LogDeleted" they never will here: the workspace's folder was deleted.
    With `code` "LogUnknown" the log may have kept it: opening the workspace again shows whether.
    """

    code = "LogFailed"


class FoldError(TransientError):
    """DuckDB could not take the newest commits (`code` "DiskFull" when the disk is full).

    Nothing is lost: the commit log holds them, and the next fold takes them.
    """

    code = "FoldFailed"


class WorkspaceError(LivedbError):
    """Something about the workspace as a whole."""

    code = "WorkspaceError"


class ClosedError(WorkspaceError):
    """The workspace has been closed, or the live handle that is waited for."""

    code = "Closed"


class WorkspaceGoneError(ClosedError):
    """A service no longer has commits that this client has seen there: its data is another.

    A workspace in memory was started anew, a backup put in its place, or another one is served.
    """

    code = "WorkspaceGone"
    status = 410


class ForkedError(WorkspaceError):
    """Used in a process that was forked from the one that opened it; pass data there, not `db`."""

    code = "Forked"


class WorkspaceLockedError(WorkspaceError):
    """Another process has the workspace open.

    Attributes:
        pid: the holder's process id, None if unknown.
        host: the holder's host name, None if unknown.
        address: where the holder serves, None if it does not.
        version: the livedb that serves there.
    """

    code = "WorkspaceLocked"
    status = 423

    def __init__(
        self,
        message: str,
        *,
        pid: int | None = None,
        host: str | None = None,
        address: str | None = None,
        version: str | None = None,
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.host = host
        self.address = address
        self.version = version


class DamagedError(WorkspaceError):
    """The workspace's files were cut, changed or mixed up; `livedb.repair` says what is left.

    Attributes:
        reason: what does not agree, without the advice of the message.
    """

    code = "Damaged"

    def __init__(self, message: str, *, reason: str | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.reason = message if reason is None else reason


class FormatError(WorkspaceError):
    """A path that is no workspace, or one written by a newer livedb."""

    code = "Format"
    status = 400
