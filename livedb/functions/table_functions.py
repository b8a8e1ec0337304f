"""The functions behind `db["tasks"]`: one read or write of a table, with arguments that are data.

They stand in no registry: whoever has `db` has them, in this process or across a network, where the
verb and its arguments travel. In the log their name is the table's, such as `tasks:insert`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from livedb.canonical import canonical
from livedb.errors import FunctionNotFoundError, InvalidValueError, SearchError
from livedb.functions.context import MutationContext, QueryContext
from livedb.functions.definition import FunctionDefinition, FunctionKind
from livedb.functions.filters import build_filter, expression_from
from livedb.functions.index_range import IndexRangeBuilder
from livedb.functions.query_builder import DocumentQuery
from livedb.functions.ranked_query import RankedQuery
from livedb.functions.searches import (
    SearchFilterBuilder,
    TextSearch,
    VectorFilter,
    VectorFilterBuilder,
    any_of_pairs,
    numbers_of,
    packed_pairs,
    vector_filter,
)
from livedb.schema.annotations import signature_validators
from livedb.values import UNSET, Document, Missing, Value, same_value

if TYPE_CHECKING:
    from livedb.transactions.transaction import Snapshot

Step = Mapping[str, Any]
"""One narrowing of a read: `{"index", "range"}`, `{"order"}`, `{"filter"}`, a search
`{"words", "field", "text", "filters"}` or `{"vectors", "vector", "limit", "anyOf"}`."""

AnyQuery = DocumentQuery[Document] | RankedQuery[Document]


# -- reads -----------------------------------------------------------------------------------------


def read(
    ctx: QueryContext,
    table: str,
    steps: Sequence[Step],
    verb: str,
    options: Sequence[Any] = (),
) -> Any:
    """The documents of a table, narrowed step by step, as `verb` takes them."""
    query: AnyQuery = ctx.db.query(table)
    for step in steps:
        query = _narrowed(query, step)
    if verb not in READ_VERBS:
        raise FunctionNotFoundError(f"A table is not read by {verb!r}")
    found = getattr(query, verb)(*options)
    return [list(each) for each in found] if verb == "scored" else found


READ_VERBS = frozenset({"collect", "take", "first", "unique", "paginate", "scored"})


def _narrowed(query: AnyQuery, step: Step) -> AnyQuery:
    if "filter" in step:
        expression = expression_from(step["filter"])
        return query.filter(lambda _: expression)
    if isinstance(query, RankedQuery):
        if "order" in step:
            query.order(step["order"])
        raise SearchError(
            "A search has an index of its own, and no other beside it", code="InvalidSearchOrder"
        )
    if "words" in step:
        return query.with_search_index(step["words"], lambda q: _asked(q, step))
    if "vectors" in step:
        condition = any_of_pairs(step["anyOf"])
        return query.with_vector_index(
            step["vectors"], step["vector"], limit=step["limit"], filter=condition
        )
    if "index" in step:
        bounds = step["range"]
        return query.with_index(step["index"], lambda q: _apply_bounds(q, bounds))
    return query.order(step["order"])


def _asked(builder: SearchFilterBuilder, step: Step) -> SearchFilterBuilder:
    """The search of a step; without a field it is of the index's."""
    builder.search(step["field"], step["text"])
    for field, packed in step["filters"]:
        builder.eq(field, _unpacked(packed))
    return builder


def check_steps(table: str, steps: Sequence[Step]) -> None:
    """Refuse what no table could be read by, whatever is in it.

    Raises:
        IndexRangeError: an order that is none, or two of what there is one of.
    """
    query: AnyQuery = DocumentQuery(cast("Snapshot", None), table)  # reads nothing
    for step in steps:
        query = _narrowed(query, step)


def index_step(
    name: str,
    build: Callable[[IndexRangeBuilder], IndexRangeBuilder] | None,
    equalities: Mapping[str, Any],
) -> Step:
    """The step of `.with_index(name, build, **equalities)`."""
    builder = IndexRangeBuilder()
    for field, value in equalities.items():
        builder.eq(field, value)
    built = builder if build is None else build(builder)
    if built is not builder:
        raise InvalidValueError(
            "The function given to .with_index() must return the range it builds, as in "
            'lambda q: q.eq("user", me).gt("due", now)'
        )
    bounds = [["eq", field, _packed(value)] for field, value in builder.equalities.items()]
    for bound, exclusive, inclusive in (
        (builder.lower, "gt", "gte"),
        (builder.upper, "lt", "lte"),
    ):
        if bound is not None:
            field, value, is_inclusive = bound
            bounds.append([inclusive if is_inclusive else exclusive, field, _packed(value)])
    return {"index": name, "range": bounds}


def search_step(
    name: str,
    search: str | Callable[[SearchFilterBuilder], SearchFilterBuilder],
    equalities: Mapping[str, Any],
) -> Step:
    """The step of `.with_search_index(name, search, **equalities)`."""
    field, text, pairs = TextSearch(name, search, equalities).built()
    filters = [[at, _packed(value)] for at, value in pairs]
    return {"words": name, "field": field, "text": text, "filters": filters}


def vector_step(
    name: str,
    vector: Any,
    limit: int,
    build: Callable[[VectorFilterBuilder], VectorFilter] | None,
) -> Step:
    """The step of `.with_vector_index(name, vector, limit=limit, filter=build)`."""
    any_of = packed_pairs(vector_filter(build))
    return {"vectors": name, "vector": numbers_of(vector), "limit": limit, "anyOf": any_of}


def _apply_bounds(builder: IndexRangeBuilder, bounds: Sequence[Sequence[Any]]) -> IndexRangeBuilder:
    for verb, field, packed in bounds:
        if verb not in ("eq", "gt", "gte", "lt", "lte"):
            raise InvalidValueError(f"{verb!r} is no bound of an index range")
        getattr(builder, verb)(field, _unpacked(packed))
    return builder


def _packed(value: Any) -> list[Any]:
    """A value in a list, and absence as an empty one: absence is no value and does not travel."""
    return [] if isinstance(value, Missing) else [value]


def _unpacked(packed: Sequence[Any]) -> Any:
    return packed[0] if packed else UNSET


def filter_step(build: Callable[[Any], Any]) -> Step:
    """The step of `.filter(build)`."""
    return {"filter": build_filter(build).tree}


def get(ctx: QueryContext, table: str, document_id: str) -> Document | None:
    """One document."""
    found: Document | None = ctx.db.get(table, document_id)
    return found


def count(ctx: QueryContext, table: str) -> int:
    """How many documents there are."""
    return ctx.db.count(table)


# -- writes ----------------------------------------------------------------------------------------


def insert(ctx: MutationContext, table: str, document: Mapping[str, Any]) -> Any:
    """Insert one document."""
    return ctx.db.insert(table, document)


def insert_all(
    ctx: MutationContext, table: str, documents: Sequence[Mapping[str, Any]]
) -> list[Any]:
    """Insert several documents, or none."""
    ids = []
    at = 0
    try:
        for at, document in enumerate(documents):  # noqa: B007  # the error says which it was
            ids.append(ctx.db.insert(table, document))
    except InvalidValueError as error:
        error.put_at(f"[{at}]")
        raise
    return ids


def patch(
    ctx: MutationContext,
    table: str,
    document_id: str,
    changes: Mapping[str, Any],
    removed: Sequence[str] = (),
) -> None:
    """Change some fields and remove others."""
    ctx.db.patch(table, document_id, {**changes, **dict.fromkeys(removed, UNSET)})


def replace_document(
    ctx: MutationContext, table: str, document_id: str, document: Mapping[str, Any]
) -> None:
    """Replace a document but for its system fields."""
    ctx.db.replace(table, document_id, document)


def delete(ctx: MutationContext, table: str, document_id: str) -> None:
    """Delete a document."""
    ctx.db.delete(table, document_id)


def delete_all(ctx: MutationContext, table: str, document_ids: Sequence[str]) -> int:
    """Delete several documents; returns how many of them were there."""
    there = [each for each in document_ids if ctx.db.get(table, each) is not None]
    for each in there:
        ctx.db.delete(table, each)
    return len(there)


def amend(
    ctx: MutationContext,
    table: str,
    document_id: str,
    field: str,
    seen: Sequence[Value],
    wanted: Sequence[Value],
) -> Document:
    """Change a field that is still as the one who changes it saw it.

    Args:
        seen: the value in a list, an empty one for a field that was not there.
        wanted: what is to stand there, likewise.

    Returns:
        `state` "done", "changed" by others meanwhile, or "gone"; `found` is what is there now.
    """
    document = ctx.db.get(table, document_id)
    if document is None:
        return Document(state="gone", found=[])
    found = [document[field]] if field in document else []
    if not same_value(found, list(seen)):
        return Document(state="changed", found=found)
    ctx.db.patch(table, document_id, {field: wanted[0] if wanted else UNSET})
    return Document(state="done", found=list(wanted))


# -- from afar -------------------------------------------------------------------------------------


def travelling_arguments(args: Mapping[str, Any]) -> dict[str, Value]:
    """The arguments of one of these functions as they travel: canonical, absent fields left out.

    Raises:
        InvalidValueError: a value cannot be stored; the error is the one that the function raises.
    """
    return {name: _travelling(name, value) for name, value in args.items()}


def _travelling(name: str, value: Any) -> Value:
    if name == "documents":
        return [_nth(at, document) for at, document in enumerate(value)]
    if name in ("document", "changes"):
        return canonical(value, allow_unset=True)
    return canonical(value, path=f".{name}")


def _nth(at: int, document: Any) -> Value:
    try:
        return canonical(document, allow_unset=True)
    except InvalidValueError as error:
        error.put_at(f"[{at}]")
        raise


# -- definitions -----------------------------------------------------------------------------------


def _any_arguments(ctx: Any, **arguments: Any) -> Any:
    """Only for its signature: these functions check their arguments themselves."""


_SIGNATURE = replace(signature_validators(_any_arguments), returns=None)


def _definition(handler: Callable[..., Any], kind: FunctionKind) -> FunctionDefinition:
    return FunctionDefinition(
        name=handler.__name__,
        kind=kind,
        visibility="internal",
        handler=handler,
        signature=_SIGNATURE,
        takes_raw=True,
    )


_FUNCTIONS = {
    "read": _definition(read, "query"),
    "get": _definition(get, "query"),
    "count": _definition(count, "query"),
    "insert": _definition(insert, "mutation"),
    "insert_all": _definition(insert_all, "mutation"),
    "patch": _definition(patch, "mutation"),
    "replace": _definition(replace_document, "mutation"),
    "delete": _definition(delete, "mutation"),
    "delete_all": _definition(delete_all, "mutation"),
    "amend": _definition(amend, "mutation"),
}
_VERBS = {definition.handler: verb for verb, definition in _FUNCTIONS.items()}


def table_function(verb: str, name: str) -> FunctionDefinition:
    """The function of a verb, under the name that the log is to show.

    Raises:
        FunctionNotFoundError: there is no such verb.
    """
    found = _FUNCTIONS.get(verb)
    if found is None:
        raise FunctionNotFoundError(f"A table has no function {verb!r}")
    return replace(found, name=name)


def verb_of(definition: FunctionDefinition) -> str | None:
    """The verb of one of these functions; None for any other."""
    return _VERBS.get(definition.handler)
