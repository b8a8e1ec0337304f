"""What a search asks for, as functions write it, and what it comes to on a table.

Source of the rules, and of the codes of their errors: features.md 5, Convex's search filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from livedb.errors import IndexRangeError, SearchError
from livedb.functions.index_range import key_value
from livedb.keys.encoding import encode_key
from livedb.limits import SEARCH_FILTERS_MAX, VECTOR_FILTERS_MAX, VECTOR_RESULTS_MAX
from livedb.schema.catalog import CatalogTable
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.schema.tables import TableDefinition
from livedb.search.fields import Equality, fits
from livedb.search.words import text_query
from livedb.transactions.searching import search_text, search_vectors
from livedb.transactions.transaction import Snapshot
from livedb.values import UNSET, Missing, Value, whole

if TYPE_CHECKING:
    from livedb.search.versioned import Hit

VECTOR_SEARCH = "_system/vectorSearch:default"
"""The query that an action's `ctx.vector_search` runs."""

VECTOR_RESULTS = 10
"""Documents that a vector search finds when it does not say how many (Convex)."""

Pair = tuple[str, Value | Missing]


class SearchFilterBuilder:
    """What the function given to `.with_search_index` receives; each method returns the builder."""

    def __init__(self) -> None:
        self.searched: tuple[str | None, str] | None = None
        self.equalities: list[Pair] = []

    def search(self, field: str | None, text: str) -> SearchFilterBuilder:
        """Documents whose `field`, the search field of the index, has one of the words of `text`.

        The last word may be the beginning of one. None is the index's field, whatever that is.
        """
        if self.searched is not None:
            raise SearchError(
                f"Search query must have one .search(), and search({field!r}, ...) is a second one",
                code="DuplicateSearchFiltersError",
            )
        if not isinstance(text, str):
            raise SearchError(
                f"search({field!r}, ...) takes a str, not {text!r}", code="InvalidSearchFilter"
            )
        self.searched = (field, text)
        return self

    def eq(self, field: str, value: Any) -> SearchFilterBuilder:
        """Documents whose `field`, a filter field of the index, equals `value`; UNSET: absent."""
        self.equalities.append((field, key_value(value)))
        if len(self.equalities) > SEARCH_FILTERS_MAX:
            raise SearchError(
                f"Search query has too many .eq() filters (limit: {SEARCH_FILTERS_MAX})",
                code="TooManyFilterConditionsInSearchQueryError",
            )
        return self


class VectorFilter:
    """A condition of a vector search; make it with `q.eq` or `q.or_`."""

    def __init__(self, any_of: tuple[Pair, ...]) -> None:
        self.any_of = any_of


class VectorFilterBuilder:
    """What the filter function of a vector search receives."""

    def eq(self, field: str, value: Any) -> VectorFilter:
        """Documents whose `field`, a filter field of the index, equals `value`; UNSET: absent."""
        return VectorFilter(((field, key_value(value)),))

    def or_(self, *filters: VectorFilter) -> VectorFilter:
        """Documents for which at least one of these holds."""
        return VectorFilter(tuple(pair for each in filters for pair in _checked(each).any_of))


def vector_filter(
    build: Callable[[VectorFilterBuilder], VectorFilter] | None,
) -> tuple[Pair, ...] | None:
    """What `build` asks for: one of these fields is to have its value; None for no condition.

    Raises:
        SearchError: it gives something else, or too many.
    """
    if build is None:
        return None
    if not callable(build):
        raise SearchError(
            'The filter of a vector search is a function, as in lambda q: q.eq("author", me), and '
            f"this is {type(build).__name__}",
            code="InvalidVectorFilter",
        )
    any_of = _checked(build(VectorFilterBuilder())).any_of
    if len(any_of) > VECTOR_FILTERS_MAX:
        raise SearchError(
            f"Vector search has {len(any_of)} filter conditions (limit: {VECTOR_FILTERS_MAX})",
            code="TooManyFilterConditionsInVectorQueryError",
        )
    return any_of


def packed_pairs(any_of: Iterable[Pair] | None) -> list[list[Any]] | None:
    """A filter as data that travels; an absent value is an empty list, being no value."""
    if any_of is None:
        return None
    return [[field, [] if isinstance(value, Missing) else [value]] for field, value in any_of]


def vector_arguments(
    table: str,
    index: str,
    vector: Iterable[float],
    limit: int,
    build: Callable[[VectorFilterBuilder], VectorFilter] | None,
) -> dict[str, Any]:
    """The arguments of `VECTOR_SEARCH`.

    Raises:
        SearchError: what is asked for contradicts the rules.
    """
    search = VectorSearch(index, vector, limit, vector_filter(build))
    search.check()
    any_of = packed_pairs(search.any_of)
    return {
        "table": table,
        "index": index,
        "vector": search.vector,
        "limit": limit,
        "any_of": any_of,
    }


def any_of_pairs(
    packed: Iterable[Sequence[Any]] | None,
) -> Callable[[VectorFilterBuilder], VectorFilter] | None:
    """The filter of `packed_pairs`."""
    if packed is None:
        return None
    pairs = [(field, value[0] if value else UNSET) for field, value in packed]
    return lambda q: q.or_(*(q.eq(field, value) for field, value in pairs))


def _checked(built: object) -> VectorFilter:
    if not isinstance(built, VectorFilter):
        raise SearchError(
            "A filter of a vector search is q.eq(field, value) or q.or_(...) of these, as in "
            'lambda q: q.eq("author", me)',
            code="InvalidSearchFilter",
        )
    return built


class Search(Protocol):
    """A search of one table."""

    @property
    def description(self) -> str:
        """What tells it from other searches."""

    def check(self) -> None:
        """Raise what is wrong whatever the table."""

    def hits(self, run: Snapshot, table: CatalogTable, limit: int) -> list[Hit]:
        """At most `limit` documents, best first."""


class TextSearch:
    """A search by words."""

    def __init__(
        self,
        name: str,
        asked: str | Callable[[SearchFilterBuilder], SearchFilterBuilder],
        equalities: Mapping[str, Any],
    ) -> None:
        self._name = name
        self._asked = asked
        self._equalities = equalities

    @property
    def description(self) -> str:
        field, text, pairs = self.built()
        return f"text|{self._name}|{field!r}|{text!r}|{_pairs_text(pairs)}"

    def check(self) -> None:
        self.built()

    def hits(self, run: Snapshot, table: CatalogTable, limit: int) -> list[Hit]:
        definition = table.definition
        index = _found(definition, self._name, definition.search_indexes)
        field, text, pairs = self.built()
        if field is not None and field != index.field:
            raise SearchError(
                f"Search query against {definition.name}.{index.name} searches {field!r}, and "
                f"the index is of {index.field!r}",
                code="IncorrectSearchField",
            )
        filters = _equalities(definition, index, pairs)
        query = text_query(text)
        if query is None:
            return []
        return search_text(run, table, index, query, filters, limit=limit)

    def built(self) -> tuple[str | None, str, list[Pair]]:
        """The field if it was named, the text, the equalities."""
        builder = SearchFilterBuilder()
        field: str | None = None
        if isinstance(self._asked, str):
            text = self._asked
        elif not callable(self._asked):
            raise SearchError(
                "A search is asked for by a text, or by a function that builds it, and this is "
                f"{type(self._asked).__name__}",
                code="InvalidSearchFilter",
            )
        else:
            if self._asked(builder) is not builder:
                raise SearchError(
                    "The function given to .with_search_index() must return the search it builds, "
                    'as in lambda q: q.search("body", text).eq("author", me)',
                    code="InvalidSearchFilter",
                )
            if builder.searched is None:
                raise SearchError(
                    "Search query must have one .search(field, text)",
                    code="MissingSearchFilterError",
                )
            field, text = builder.searched
        for name, value in self._equalities.items():
            builder.eq(name, value)
        return field, text, builder.equalities


class VectorSearch:
    """A search for the nearest vectors."""

    def __init__(
        self, name: str, vector: Iterable[float], limit: int, any_of: tuple[Pair, ...] | None
    ) -> None:
        self._name = name
        self.vector = numbers_of(vector)
        number = whole(limit)
        self._limit = limit if number is None else number
        self.any_of = any_of

    @property
    def description(self) -> str:
        pairs = "" if self.any_of is None else _pairs_text(self.any_of)
        return f"vector|{self._name}|{self.vector}|{self._limit}|{self.any_of is None}|{pairs}"

    def check(self) -> None:
        if type(self._limit) is not int or self._limit < 1:
            raise SearchError(
                f"A vector search finds at least 1 document, not {self._limit!r}",
                code="InvalidVectorLimit",
            )
        if self._limit > VECTOR_RESULTS_MAX:
            raise SearchError(
                f"Vector queries have a maximum limit of {VECTOR_RESULTS_MAX}, and {self._limit} "
                "was asked for",
                code="VectorLimitTooLargeError",
            )

    def hits(self, run: Snapshot, table: CatalogTable, limit: int) -> list[Hit]:
        self.check()
        definition = table.definition
        index = _found(definition, self._name, definition.vector_indexes)
        name, vector = f"{definition.name}.{index.name}", self.vector
        if len(vector) != index.dimensions:
            raise SearchError(
                f"Vector index {name} has vectors of {index.dimensions} dimensions, and one of "
                f"{len(vector)} is searched",
                code="VectorDimensionsMismatch",
            )
        if not fits(vector, index.dimensions) or not any(vector):
            raise SearchError(
                "A vector to search for has finite numbers, not all of them zero",
                code="InvalidVector",
            )
        if self.any_of == ():
            return []  # one of nothing holds for nothing
        any_of = tuple(dict.fromkeys(_equalities(definition, index, self.any_of or ())))

        from livedb.search.vectors import VectorQuery, unit

        query = VectorQuery(unit(vector).tobytes(), min(self._limit, limit), any_of)
        return search_vectors(run, table, index, query)


def numbers_of(vector: Any) -> list[float]:
    """The numbers of a list, tuple or array.

    Raises:
        SearchError: it has something else.
    """
    given = vector.tolist() if hasattr(vector, "tolist") else vector
    if not isinstance(given, list | tuple) or not all(type(n) in (float, int) for n in given):
        raise SearchError(
            f"A vector to search for is a list of numbers, not {str(vector)[:80]}",
            code="InvalidVector",
        )
    try:
        return list(map(float, given))
    except OverflowError:
        raise SearchError(
            "A vector to search for has a number beyond those of floats", code="InvalidVector"
        ) from None


Index = TypeVar("Index", SearchIndexDefinition, VectorIndexDefinition)


def _found(definition: TableDefinition, name: str, indexes: Sequence[Index]) -> Index:
    for index in indexes:
        if index.name == name:
            return index
    kind = "search" if indexes is definition.search_indexes else "vector"
    names = ", ".join(repr(index.name) for index in indexes) or "none"
    raise IndexRangeError(
        f"Index {definition.name}.{name} not found. Of {kind} indexes, table {definition.name!r} "
        f"has {names}.",
        code="IndexNotFoundError",
    )


def _equalities(
    definition: TableDefinition,
    index: SearchIndexDefinition | VectorIndexDefinition,
    pairs: Iterable[Pair],
) -> tuple[Equality, ...]:
    found = []
    for field, value in pairs:
        if field not in index.filters:
            raise SearchError(
                f"The index {definition.name}.{index.name} has no filter field {field!r}; it has "
                f"{', '.join(map(repr, index.filters)) or 'none'}",
                code="IncorrectFilterFieldError",
            )
        found.append((index.filters.index(field), encode_key(value)))
    return tuple(found)


def _pairs_text(pairs: Iterable[Pair]) -> str:
    return ",".join(f"{field}={encode_key(value).hex()}" for field, value in pairs)
