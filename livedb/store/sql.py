"""The gate between a user's SQL and DuckDB, and the run behind it.

User SQL may read the workspace's tables, one view each in schema `main`, and nothing else. The
lock-down of `store.connection` closes files and settings but not DuckDB's own catalog, its writes,
or livedb's inner schemas, so a text passes four doors:

    1. one statement, of a kind that reads, at most `SQL_TEXT_BYTES_MAX` long;
    2. its syntax tree names only livedb's tables, the text's own CTEs, and functions that cannot
       look around, nor make one huge value (`store.bounds`); what the gate does not know in a place
       that yields rows, it refuses;
    3. DuckDB, asked which tables the text reads, names no others (`get_table_names` sees through
       views and macros; it cannot answer for every text, so this door only ever closes);
    4. it runs in a read-only transaction: a write inside a CTE has the type SELECT.

Source: `reliability.md` 2.2-2.4, tried on DuckDB 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

import duckdb
import msgspec
import pyarrow as pa

from livedb.canonical import canonical
from livedb.errors import FunctionTimeoutError, InvalidValueError, LimitError, SqlError
from livedb.limits import SQL_TEXT_BYTES_MAX
from livedb.schema.tables import SYSTEM_TABLES
from livedb.store.bounds import CHARACTERS_MAX, bound_error
from livedb.store.connection import damage_error
from livedb.store.marks import marked
from livedb.values import Value

STREAM_ROWS: Final = 8192
"""Rows of one batch of a stream; a document takes up to 1 MiB."""

Parameters = Mapping[str, Value] | list[Value] | tuple[Value, ...] | None
"""Values for `$name` by name, or for `?` in order."""

TABLE_FUNCTIONS: Final = frozenset(
    {"range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "repeat_row"}
)
"""Functions that may stand where a table does: those that read nothing but their arguments."""

_REFUSED_FUNCTIONS: Final = frozenset(
    {
        "col_description", "currval", "current_connection_id", "current_query",
        "current_query_id", "current_schemas", "current_setting", "current_transaction_id",
        "format_type", "getenv", "getvariable", "in_search_path", "json_execute_serialized_sql",
        "json_serialize_plan", "nextval", "obj_description", "query", "query_table", "setseed",
        "setval", "shobj_description", "sleep_ms", "stats", "txid_current", "write_log",
    }
)  # fmt: skip
# Scalar functions and macros that read the catalog or settings, change state, or only wait.

_BUILT_IN: Final = frozenset({"system"})
"""The catalog of DuckDB's own functions."""

_FORMAT_FUNCTIONS: Final = frozenset({"printf", "format"})
_FORMAT_WIDTHS = re.compile(r"[0-9]+|\*|\{[^{}]*\{")
# A width in a format, or the sign that it is an argument.

_HARMLESS_PG_FUNCTIONS: Final = frozenset({"pg_typeof", "pg_size_pretty"})

_QUERY_NODES: Final = frozenset(
    {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
)
_TABLE_NODES: Final = frozenset(
    {
        "BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SHOW_REF", "SUBQUERY",
        "TABLE_FUNCTION",
    }
)  # fmt: skip
_ROW_PLACES: Final = frozenset(
    {
        "children", "from_table", "left", "node", "query", "query_node", "right", "source",
        "subquery",
    }
)  # fmt: skip
# The keys of the syntax tree under which something that yields rows can stand.

_QUERY_NODES_MAX = 500
"""Queries inside one text. DuckDB plans thousands of `union all` for minutes, uninterruptibly."""

_EXPLAIN = re.compile(
    r"\s*explain\s+(?P<analyze>analyze\s+)?(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)


class Admitted(NamedTuple):
    """A text that may run, and the names of the livedb tables it reads."""

    text: str
    tables: frozenset[str]


def admit(connection: duckdb.DuckDBPyConnection, text: str, *, names: Iterable[str]) -> Admitted:
    """Let a user's SQL through the gate, or say why not.

    Args:
        connection: one outside of a transaction, which a wrong text would abort.
        text: what the user wrote.
        names: the tables the text may read; looked up regardless of case.

    Raises:
        SqlError: code "SqlRefused" when it is not allowed, "SqlError" when it is wrong.
    Cost: 1 to 2 ms.
    """
    _check_length(text)
    prefix, query = _single_statement(connection, text)
    tree = _syntax_tree(connection, query)
    walk = _Walk(names)
    walk.check(tree)
    if not tree["statements"][0].get("named_param_map"):
        _check_with_duckdb(connection, query, walk.tables)
    return Admitted(prefix + query, frozenset(walk.tables))


def run(connection: duckdb.DuckDBPyConnection, text: str, parameters: Parameters) -> pa.Table:
    """The rows of one SQL text, materialised.

    HUGEINT, the type of `sum` over integers, becomes int64 where every value fits, otherwise
    decimal128(38, 0); never a float.

    Raises:
        SqlError: DuckDB refused it.
        LimitError: it needed more than `limits.sql_memory_bytes_max`.
        DamagedError: a block it read is not what was written.
        FunctionTimeoutError: it was interrupted by `interrupt()`.
    """
    bound = bind_parameters(parameters)
    try:
        relation = connection.sql(text, params=bound)
        types = [str(column_type) for column_type in relation.types]
        table = relation.to_arrow_table()
    except (duckdb.Error, RuntimeError) as error:
        raise (found := query_error(error)) from _cause(found, error)
    return _with_json_marks(_without_hugeint(table, types), types)


@dataclass(frozen=True, slots=True)
class RowStream:
    """Rows a batch at a time, so that memory does not grow with them; to be read once.

    Attributes:
        batches: whoever takes the next one may get what `run` raises.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@contextmanager
def stream(connection: duckdb.DuckDBPyConnection, text: str) -> Iterator[RowStream]:
    """The rows of one SQL text as DuckDB makes them; the connection runs nothing else meanwhile.

    Raises: as `run`.
    """
    # Closed by hand: what an error's frames hold of a stream holds the database, and while that is
    # so `duckdb.connect` of the same file waits for ever, with the interpreter's lock.
    try:
        relation = connection.sql(text)
        types = [str(column_type) for column_type in relation.types]
        reader = relation.to_arrow_reader(STREAM_ROWS)
    except (duckdb.Error, RuntimeError) as error:
        raise (found := query_error(error)) from _cause(found, error)
    schema = _with_json_marks(reader.schema.empty_table(), types).schema
    with closing(_batches(reader, schema)) as batches, closing(reader):
        del relation
        yield RowStream(schema, batches)


def _batches(
    reader: pa.RecordBatchReader, schema: pa.Schema
) -> Generator[pa.RecordBatch, None, None]:
    try:
        for batch in reader:
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
    except OSError as error:  # what Arrow makes of an error of DuckDB's
        raise query_error(_duckdb_error(str(error))) from error


def _duckdb_error(text: str) -> duckdb.Error:
    for beginning, kind in _STREAM_ERRORS.items():
        if text.startswith(beginning):
            return kind(text)
    return duckdb.Error(text)


_STREAM_ERRORS: Final[dict[str, type[duckdb.Error]]] = {
    "INTERRUPT Error": duckdb.InterruptException,
    "Out of Memory Error": duckdb.OutOfMemoryException,
}


def _with_json_marks(table: pa.Table, types: Sequence[str]) -> pa.Table:
    """`table` with its JSON columns marked: Arrow shows them as any other text."""
    for position, column_type in enumerate(types):
        if column_type == "JSON":
            field = marked(table.schema.field(position), "json")
            table = table.set_column(position, field, table.column(position))
    return table


def bind_parameters(parameters: Parameters) -> dict[str, Any] | list[Any] | None:
    """`parameters` as DuckDB takes them, each value checked.

    Raises:
        SqlError: not a dict or list, or a value of a type that SQL has no form for.
    """
    if not parameters:
        return None
    if isinstance(parameters, Mapping):
        return {
            _parameter_name(name): _bound(f"${name}", value) for name, value in parameters.items()
        }
    if isinstance(parameters, (list, tuple)):
        return [_bound(f"number {at}", value) for at, value in enumerate(parameters, start=1)]
    raise SqlError(
        f"parameters are a dict for $name or a list for ?, not {type(parameters).__name__}"
    )


_ADVICE: Final = re.compile(
    r"""\s*(\n\nPossible\ solutions:.* | (Use|or\ use)\ "?SET\ [^\n]*)""", re.DOTALL | re.VERBOSE
)
"""What DuckDB says of settings, which nobody can change here."""


def _said_by(error: Exception) -> str:
    return _ADVICE.sub("", str(error))


def query_error(error: Exception) -> BaseException:
    """What an exception of DuckDB during a read means for whoever ran it."""
    text = _said_by(error)
    if isinstance(error, duckdb.InterruptException):
        return FunctionTimeoutError("the SQL statement was interrupted before it finished")
    if not isinstance(error, duckdb.Error):
        # Ctrl-C reaches DuckDB's wait loop first, which turns it into a RuntimeError.
        return KeyboardInterrupt() if "interrupted" in text.lower() else SqlError(text)
    damage = damage_error(error)
    if damage is not None:
        return damage
    if isinstance(error, duckdb.OutOfMemoryException):
        return LimitError(
            f"the SQL statement needs more memory than Limits.sql_memory_bytes_max allows: {text}",
            code="SqlMemory",
        )
    if (bound := bound_error(text)) is not None:
        return _refused(bound)
    if isinstance(error, duckdb.PermissionException) or "read-only mode" in text:
        return _refused(f"the statement may only read the workspace's tables: {text}")
    return SqlError(text)


def _cause(found: BaseException, error: Exception) -> Exception | None:
    """What to show above an error: DuckDB's own where it is not said over again."""
    return None if isinstance(found, SqlError) else error


def near_misses(name: str, known: Iterable[str]) -> str:
    """A sentence that helps whoever asked for table `name`."""
    by_key = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), by_key, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(by_key[key]) for key in close) + "?"
    if by_key:
        shown = ", ".join(repr(each) for each in sorted(by_key.values())[:10])
        return f"the tables are {shown}" + (", ..." if len(by_key) > 10 else "")
    return "the workspace has no tables yet"


def _refused(message: str) -> SqlError:
    return SqlError(message, code="SqlRefused")


def _check_length(text: object) -> None:
    if not isinstance(text, str):
        raise SqlError(f"SQL is text, not {type(text).__name__}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise SqlError("the SQL text holds a lone surrogate") from error
    if size > SQL_TEXT_BYTES_MAX:
        raise _refused(f"the SQL text has {size} bytes; at most {SQL_TEXT_BYTES_MAX} are allowed")


def _single_statement(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[str, str]:
    """The text as an EXPLAIN prefix, mostly empty, and the one query behind it."""
    statements = _parse(connection, text)
    if len(statements) != 1:
        raise _refused(f"run one SQL statement at a time; this text has {len(statements)}")
    kind = statements[0].type
    query = str(statements[0].query)
    if kind == duckdb.StatementType.EXPLAIN:
        return _explained(connection, query)
    if kind == duckdb.StatementType.MULTI:
        raise _refused("name the columns of PIVOT: `pivot t on c in ('a', 'b')`")
    if kind != duckdb.StatementType.SELECT:
        raise _refused(
            f"SQL here only reads: SELECT, WITH, VALUES, FROM, DESCRIBE, SUMMARIZE and EXPLAIN, "
            f"not {kind.name}; documents are written by mutations, tables made by db.table"
        )
    return "", query


def _explained(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[str, str]:
    """EXPLAIN and the query it is about, apart: the gate checks the query."""
    found = _EXPLAIN.fullmatch(text)
    try:
        statements = _parse(connection, found["rest"]) if found is not None else []
    except SqlError:
        statements = []
    if found is None or len(statements) != 1:
        raise _refused("write EXPLAIN directly before the query, without options or comments")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise _refused("EXPLAIN is allowed for a query only")
    return "explain analyze " if found["analyze"] else "explain ", str(statements[0].query)


def _parse(connection: duckdb.DuckDBPyConnection, text: str) -> list[Any]:
    try:
        return list(connection.extract_statements(text))
    except duckdb.Error as error:
        raise SqlError(_said_by(error)) from None


def _syntax_tree(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    try:
        relation = connection.sql("select json_serialize_sql($query)", params={"query": query})
        text = relation.to_arrow_table().column(0)[0].as_py()
        tree: dict[str, Any] = msgspec.json.decode(text)
    except (duckdb.Error, RecursionError) as error:
        raise _refused(f"the SQL text could not be checked: {_said_by(error)}") from error
    if tree.get("error") or len(tree.get("statements", ())) != 1:
        raise _refused(f"the SQL text could not be checked: {tree.get('error_message')}")
    return tree


class _Walk:
    """One pass over a syntax tree that knows which CTE names are in scope where."""

    def __init__(self, names: Iterable[str]) -> None:
        self.tables: set[str] = set()
        self._names = {name.casefold(): name for name in names}
        self._query_nodes = 0

    def check(self, tree: Any) -> None:
        # A stack, not recursion: the depth is the user's choice.
        stack: list[tuple[Any, frozenset[str]]] = [(tree, frozenset())]
        while stack:
            node, scope = stack.pop()
            if isinstance(node, list):
                stack.extend((item, scope) for item in node)
            elif isinstance(node, dict):
                stack.extend(self._children(node, scope))

    def _children(
        self, node: dict[str, Any], scope: frozenset[str]
    ) -> Iterator[tuple[Any, frozenset[str]]]:
        """Check `node` itself; its children with the CTE names each of them sees."""
        if "class" in node:
            self._check_expression(node)
        else:
            self._check_table(node, scope)
        if node.get("type") == "RECURSIVE_CTE_NODE":
            scope |= {str(node.get("cte_name")).casefold()}
        for entry in (node.get("cte_map") or {}).get("map", ()):
            # A CTE sees those before it and never itself: `with t as (from t)` reads the table.
            yield entry["value"], scope
            scope |= {entry["key"].casefold()}
        for key, child in node.items():
            if key == "cte_map":
                continue
            if key in _ROW_PLACES:
                for source in child if isinstance(child, list) else [child]:
                    self._check_known(source)
            yield child, scope

    def _check_known(self, node: Any) -> None:
        if not isinstance(node, dict) or "class" in node:
            return  # An expression: comparisons have a left and a right, too.
        kind = node.get("type")
        if kind in _QUERY_NODES:
            self._query_nodes += 1
            if self._query_nodes > _QUERY_NODES_MAX:
                raise _refused(f"one SQL text may hold at most {_QUERY_NODES_MAX} queries")
        elif kind is not None and kind not in _TABLE_NODES:
            raise _refused(
                f"SQL here only reads tables; {str(kind).lower().replace('_', ' ')} is not allowed"
            )

    def _check_expression(self, node: dict[str, Any]) -> None:
        name = str(node.get("function_name") or "").casefold()
        is_postgres = name.startswith(("pg_", "has_")) and name not in _HARMLESS_PG_FUNCTIONS
        if name in _REFUSED_FUNCTIONS or is_postgres:
            raise _refused(f"function {name!r} is not allowed in a workspace's SQL")
        # `s.upper()` has its column there. By these names DuckDB's own would be met, in whose place
        # those of `store.bounds` stand.
        if {str(node.get(each) or "").casefold() for each in ("catalog", "schema")} & _BUILT_IN:
            raise _refused(f"name function {name!r} without a schema")
        if name in _FORMAT_FUNCTIONS:
            _check_format(name, node)

    def _check_table(self, node: dict[str, Any], scope: frozenset[str]) -> None:
        match node.get("type"):
            case "BASE_TABLE":
                self._check_name(node, scope)
            case "TABLE_FUNCTION":
                name = str(node["function"]["function_name"]).casefold()
                if name not in TABLE_FUNCTIONS:
                    raise _refused(
                        f"table function {name!r} is not allowed; files are loaded with "
                        "db[table].load(path), and db.tables lists the tables"
                    )
            case "SHOW_REF":
                if node.get("show_type") not in ("DESCRIBE", "SUMMARY") or not node.get("query"):
                    raise _refused("SHOW is not allowed; DESCRIBE a table or a query instead")

    def _check_name(self, node: dict[str, Any], scope: frozenset[str]) -> None:
        name, schema = str(node["table_name"]), str(node.get("schema_name") or "")
        if node.get("catalog_name") or schema.casefold() not in ("", "main"):
            qualified = ".".join(filter(None, (node.get("catalog_name"), schema, name)))
            raise _refused(
                f"{qualified!r} is not a table of the workspace; name a table without a schema"
            )
        if not schema and name.casefold() in scope:
            return
        found = self._names.get(name.casefold())
        if found is None:
            raise _refused(_unknown_table(name, self._names.values()))
        if node.get("at_clause"):
            raise _refused(f"AT is not allowed: table {name!r} is read at the newest commit")
        self.tables.add(found)


def _unknown_table(name: str, known: Iterable[str]) -> str:
    if name in SYSTEM_TABLES:
        return (
            f"{name} is a table of livedb's own, and not in SQL: queries and mutations read it by "
            f'ctx.db.system.query("{name}")'
        )
    return f"there is no table {name!r}; {near_misses(name, known)}"


def _check_format(name: str, call: dict[str, Any]) -> None:
    """Refuse a format that makes of a few characters a value of any size."""
    arguments = call.get("arguments") or ()
    node = arguments[0]["expression"] if arguments else {}
    text = (node.get("literal") or {}).get("text")
    if text is None:
        raise _refused(
            f"the format of function {name!r} must be a text that stands in the query, not computed"
        )
    for width in _FORMAT_WIDTHS.findall(text.replace("{{", "").replace("}}", "")):
        if not width.isdigit():
            raise _refused(f"the widths in the format of function {name!r} must be numbers")
        if float(width) > CHARACTERS_MAX:
            raise _refused(
                f"function {name!r} is asked for one value of more than {CHARACTERS_MAX:,} "
                "characters; make it smaller"
            )


def _check_with_duckdb(
    connection: duckdb.DuckDBPyConnection, query: str, tables: Iterable[str]
) -> None:
    """Ask DuckDB itself what `query` reads: a second pair of eyes for the walk above.

    It binds against columns of unknown type and so fails on sound queries (ASOF JOIN, USING,
    COLUMNS, unnest of a constant): a BinderException says nothing. Any other exception is a no.
    """
    try:
        found = connection.get_table_names(query, qualified=True)
    except duckdb.BinderException:
        return
    except duckdb.Error as error:
        raise _refused(f"the SQL text could not be checked: {_said_by(error)}") from error
    allowed = {("data", name.casefold()) for name in tables}
    for qualified in found:
        if _split_name(qualified) not in allowed:
            raise _refused(f"{qualified!r} is not a table of the workspace")


def _split_name(qualified: str) -> tuple[str, ...]:
    parts = re.findall(r'"(?:[^"]|"")*"|[^".]+', qualified)
    return tuple(
        (part[1:-1].replace('""', '"') if part.startswith('"') else part).casefold()
        for part in parts
    )


def _parameter_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise SqlError(f"a parameter's name is text, as in $name, not {name!r}")
    return name


def _bound(place: str, value: Value) -> Any:
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    try:
        return _plain(canonical(value))
    except InvalidValueError as error:
        raise SqlError(f"parameter {place} cannot be used in SQL: {error.message}") from error


def _plain(value: Value) -> Any:
    """A canonical value in types that DuckDB knows: an `Int64` is only an int to it."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    assert value is None or isinstance(value, (bool, float, str, bytes, datetime))
    return value


def _without_hugeint(table: pa.Table, types: Sequence[str]) -> pa.Table:
    for at, column_type in enumerate(types):
        if column_type not in ("HUGEINT", "UHUGEINT"):
            continue
        try:
            narrow = table.column(at).cast(pa.int64())
        except pa.ArrowInvalid:
            continue
        table = table.set_column(at, table.schema.field(at).name, narrow)
    return table
