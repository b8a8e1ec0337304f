"""Every bound in livedb: its unit, its default, and what happens when it is reached.

A workspace takes a `Limits`; nothing else in the code base holds a bound of its own.
Source of the defaults named "Convex": spec features.md 21, semantics.md 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from livedb.errors import InvalidValueError

INT_SAFE_MAX = 2**53
"""Largest whole number a float64 holds exactly; a larger `int` is refused outside int64 fields."""

DOCUMENT_NESTING_MAX = 16
"""Levels of containers in a stored document (Convex); deeper is an InvalidValueError."""

VALUE_NESTING_MAX = 64
"""Levels of containers in an argument or a result (Convex); deeper is an InvalidValueError."""

ARRAY_LENGTH_MAX = 8192
"""Elements of one array (Convex); more is an InvalidValueError."""

OBJECT_FIELDS_MAX = 1024
"""Fields of one object (Convex); more is an InvalidValueError."""

FIELD_NAME_LENGTH_MAX = 1024
"""Characters of one field name (Convex)."""

IDENTIFIER_LENGTH_MAX = 64
"""Characters of a table, index or top-level schema field name (Convex)."""

DOCUMENT_BYTES_MAX = 1 << 20
"""Convex size of a stored document, system fields included (Convex)."""

INDEX_FIELDS_MAX = 16
"""Declared fields of one index (Convex)."""

INDEXES_PER_TABLE_MAX = 64
"""Indexes of one table (Convex's code; its documentation says 32)."""

SEARCH_INDEXES_PER_TABLE_MAX = 4
"""Text search indexes of one table, and as many vector indexes (Convex)."""

INDEX_FILTER_FIELDS_MAX = 16
"""Filter fields of one search or vector index (Convex)."""

SEARCH_TERMS_MAX = 16
"""Words of a text search; those that follow are ignored (Convex)."""

SEARCH_TERM_BYTES_MAX = 32
"""UTF-8 bytes of a word that can be found; a longer one is left out (Convex)."""

SEARCH_FILTERS_MAX = 8
"""Equalities of one text search (Convex); more is a SearchError."""

SEARCH_RESULTS_MAX = 1024
"""Documents that one text search hands out (Convex); a further one is a SearchError."""

VECTOR_DIMENSIONS_MIN = 2
VECTOR_DIMENSIONS_MAX = 4096
"""Numbers of an indexed vector (Convex)."""

VECTOR_RESULTS_MAX = 256
"""Documents that one vector search finds (Convex); asking for more is a SearchError."""

VECTOR_FILTERS_MAX = 64
"""Equalities of one vector search (Convex); more is a SearchError."""

TABLE_NUMBER_MAX = (1 << 31) - 1
"""Of ids that are loaded: the next new table gets a higher number, which must fit an id too."""

JSON_ARRAY_BYTES_MAX = 8 << 20
"""Bytes of a file that is one JSON array; it is read as a whole."""

TABLES_MAX = 10_000
"""Tables of one workspace (Convex)."""

COLUMNS_MAX = 256
"""Fields of a table that get a column in DuckDB; further ones live in `_doc` only."""

CALL_DEPTH_MAX = 8
"""Functions that may call each other in one transaction (Convex)."""

SQL_TEXT_BYTES_MAX = 64 << 10
"""Bytes of one SQL text; longer is an SqlError before anything parses it."""

LOCK_DOOR_S_MAX = 10.0
"""Seconds to wait for others who are just opening the same workspace. Each needs a moment; one that
was stopped there could take for ever: then a WorkspaceLockedError that names nobody."""

READ_BLOCK_KEYS = 256
"""Index keys taken under the latch at once; bounds how long a reader holds it."""

SCHEDULED_ARGS_BYTES_MAX = 4 << 20
"""Convex size of the arguments of one scheduled function (Convex); more is a LimitError."""

SCHEDULED_DELAY_S_MAX = 5 * 366 * 24 * 3600.0
"""Seconds from now, either way, for which a function can be scheduled (Convex)."""

SCHEDULED_KEPT_S = 7 * 24 * 3600.0
"""Seconds that a scheduled function stays readable after it ended (Convex)."""

CRON_NAME_LENGTH_MAX = 256
"""Characters of a cron's name."""

CRON_LOGS_KEPT = 5
"""Runs of each cron that are remembered (Convex)."""

CRON_LOG_CHARACTERS_MAX = 1_000
"""Of a result, an error or log lines in what is remembered of a cron's run (Convex)."""

CRON_SKIPS_COUNTED_MAX = 1_000
"""Missed runs of a cron that are counted; of more there were at least so many."""

AUTHORIZATION_BYTES_MAX = 32 << 10
"""Bytes of an Authorization header; a longer one is an AuthenticationError before it is parsed."""

TOKEN_BYTES_MAX = 16 << 10
"""Bytes of a JWT; a longer one is an AuthenticationError before it is parsed. Issuers stay below 8
KiB, as servers refuse longer headers."""

TOKEN_LEEWAY_S = 10
"""Seconds that an issuer's clock may differ from ours (Convex: 5)."""

KEY_SET_BYTES_MAX = 256 << 10
"""Bytes of an issuer's key set or discovery document; a longer one is refused where it passes."""

KEY_SET_KEYS_MAX = 100
"""Keys of one issuer; a set of more is refused whole."""

KEY_SET_FRESH_S = 600.0
"""Seconds that fetched keys are used before they are fetched again, behind the callers' backs."""

KEY_SET_STALE_S = 24 * 3600.0
"""Seconds that fetched keys are used while the issuer cannot be reached; then its tokens are an
IdentityProviderError."""

KEY_SET_FETCH_S = 5.0
"""Seconds that one fetch may take, discovery included."""

KEY_SET_PAUSE_S = 10.0
"""Seconds between two fetches of one issuer's keys, whatever unknown `kid`s arrive meanwhile."""

KEY_SET_REDIRECTS_MAX = 2
"""Redirects followed in one fetch, within one origin only."""

ACCESS_TOKENS_MAX = 10_000
"""Access tokens of one workspace, revoked and expired ones included; more is a LimitError."""

AUTH_FAILURES_MAX = 20
"""Wrong tokens in a row from one address; then it is held off until some are forgiven."""

AUTH_FAILURES_FORGIVEN_PER_S = 1.0
"""How many of them a second makes good."""

AUTH_ADDRESSES_MAX = 10_000
"""Addresses whose wrong tokens are counted; then the one longest quiet is forgotten."""

SECONDS_MAX = 1e9
"""The largest number for a setting of seconds, 31 years; a wait for longer overflows in Python."""

TRAVEL_SOURCE_BYTES_MAX = 256 << 10
"""Bytes of source, helpers included, that a function may take along to a shared workspace; more is
a TravelError, as beyond the three bounds below."""

TRAVEL_VALUE_BYTES_MAX = 1 << 20
"""Bytes of text of the values that a function may take along."""

TRAVEL_HELPERS_MAX = 200
"""Helper functions and classes that a function may take along."""

TRAVEL_THINGS_MAX = 10_000
"""Everything together that a function may take along, each import and each value counted."""

_MAY_BE_ZERO = frozenset(
    {
        "cache_entries_max",
        "conflict_retries_max",
        "documents_written_max",
        "bytes_written_max",
        "fold_idle_s",
        "history_bytes_max",
        "history_keep_s",
        "log_deadline_s",
        "retry_window_s",
        "snapshot_keep_s",
        "turn_ms_max",
    }
)
"""Settings of which zero means something: do without, or at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings of a workspace that bound work, memory and time.

    A function that uses more than 80 % of what it may read, write, take or give, or of its time,
    logs a warning; one that passes the limit itself gets a `LimitError` with the limit's code
    (`FunctionTimeoutError` for time), and a mutation is rolled back.

    Raises:
        InvalidValueError: a setting is no number of its kind, negative, or zero without a meaning;
            `path` names it.
    """

    documents_read_max: int = 32_000
    """Documents one function run may scan (Convex)."""
    bytes_read_max: int = 16 << 20
    """Bytes of documents one function run may scan (Convex)."""
    index_ranges_max: int = 4_096
    """Point and range reads of one function run (Convex)."""
    documents_written_max: int = 16_000
    """Documents one mutation may write (Convex)."""
    bytes_written_max: int = 16 << 20
    """Bytes one mutation may write (Convex)."""
    functions_scheduled_max: int = 1_000
    """Functions one mutation may schedule (Convex)."""
    scheduled_bytes_max: int = 16 << 20
    """Convex size of the arguments of all functions that one mutation schedules (Convex)."""
    scheduled_parallel_max: int = 8
    """Scheduled actions, and those of crons, that run at once (Convex); more wait for their turn.
    Mutations are run one after the other."""
    actions_parallel_max: int = 64
    """Actions that run at once for clients of a service; more wait for their turn. Queries and
    mutations have threads of their own, and HTTP actions too."""
    args_bytes_max: int = 16 << 20
    """Convex size of a call's arguments."""
    result_bytes_max: int = 16 << 20
    """Bytes of text of a function's result that is kept or sent: a live query's, and that of a
    mutation with an id. A plain call hands its result over as it is; SQL has its memory limit."""
    file_bytes_max: int = 16 << 30
    """Bytes of one file of `ctx.storage`; a larger one is refused while it arrives."""
    function_s_max: float | None = None
    """Seconds a run of a query or mutation may take; None is no limit."""
    action_s_max: float | None = None
    """Seconds an action may take; None is no limit. A plain `def` that is at work is refused at its
    next step, an `async def` is cancelled where it waits; what they committed stays."""
    turn_ms_max: float = 50.0
    """Milliseconds a mutation keeps the others waiting before they go on beside it."""
    conflict_retries_max: int = 4
    """Reruns of a mutation whose reads went stale (Convex)."""
    snapshot_s_max: float = 300.0
    """Seconds one run keeps the versions it reads; older ones are then forgotten as commits come,
    and reading them is a SnapshotTooOldError."""
    snapshot_keep_s: float = 30.0
    """Seconds a superseded version stays readable in memory."""
    log_deadline_s: float = 30.0
    """Seconds an interrupted call waits to learn whether its commit is durable."""
    fold_backlog_max: int = 20_000
    """Commits not yet in DuckDB after which a fold starts by itself."""
    fold_idle_s: float = 1.0
    """Seconds without a commit after which a fold starts by itself."""
    row_memory_bytes_max: int = 4 << 30
    """Bytes of documents held in memory for functions, of all tables together; a table that finds
    no room is a MemoryBudgetError."""
    sql_memory_bytes_max: int = 4 << 30
    """DuckDB's memory limit, in bytes."""
    sql_s_max: float | None = None
    """Seconds one SQL statement may take, also in `ctx.db.sql` and live SQL; None is no limit."""
    retry_window_s: float = 14 * 24 * 3600.0
    """Seconds a mutation id is remembered (Convex: 14 days); in memory at most 10 minutes."""
    history_keep_s: float = 14 * 24 * 3600.0
    """Seconds for which every commit of the past stays readable (`db.at`, `history`, `changes`,
    `undo`); in memory at most 10 minutes. Then reading it is a PastTooOldError. The commit log is
    kept as long, which by default it is anyway, for `retry_window_s`. 0 keeps no past."""
    history_bytes_max: int = 1 << 30
    """Bytes of superseded and deleted documents that are kept for that; beyond, the oldest commits
    become unreadable sooner. What a document is now does not count."""
    cache_entries_max: int = 1_000
    """Results of queries without a subscriber that the query cache keeps."""

    def __post_init__(self) -> None:
        for field in fields(self):
            wrong = _what_is_wrong(field.name, str(field.type), getattr(self, field.name))
            if wrong:
                raise InvalidValueError(
                    f"Limits({field.name}=...) {wrong}; the default is {field.default}",
                    path=f".{field.name}",
                    code="InvalidLimit",
                )


def _what_is_wrong(name: str, kind: str, value: object) -> str:
    """Why `value` cannot be this setting; empty when it can."""
    if value is None and kind.endswith("None"):
        return ""
    if kind == "int" and type(value) is not int:
        return f"takes a whole number such as 1_000_000, and {value!r} is none"
    if not isinstance(value, int | float) or type(value) is bool or not math.isfinite(value):
        none = " or None for no limit" if kind.endswith("None") else ""
        return f"takes a finite number{none}, and {value!r} is none"
    if value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
        least = "not be negative" if name in _MAY_BE_ZERO else "be more than 0"
        return f"must {least}, and {value!r} was given"
    if name.endswith(("_s", "_s_max")) and value > SECONDS_MAX:
        return f"takes at most {SECONDS_MAX:,.0f} seconds, and {value!r} was given"
    return ""
