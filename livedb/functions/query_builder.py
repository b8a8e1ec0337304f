"""`ctx.db.query(table)`: a description of documents to read, and the verbs that read them.

Each method returns a new description, so one may be kept and used many times. Nothing is read
until a verb is called: `collect take first unique paginate`, or iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

from livedb.errors import IndexRangeError, SearchError
from livedb.functions.filters import Expression, FilterBuilder, build_filter, passes
from livedb.functions.index_range import (
    BUILT_IN,
    IndexRangeBuilder,
    KeyRange,
    index_fields,
    key_range,
)
from livedb.functions.pagination import (
    SPLIT_DOCUMENTS_MIN,
    SPLIT_SHARE,
    SPLITTABLE_DOCUMENTS_MIN,
    Cursor,
    PageOptions,
    checked_count,
    decode_cursor,
    encode_cursor,
    fingerprint,
    page_options,
    pinned_page,
)
from livedb.functions.ranked_query import RankedQuery
from livedb.functions.searches import (
    VECTOR_RESULTS,
    Search,
    SearchFilterBuilder,
    TextSearch,
    VectorFilter,
    VectorFilterBuilder,
    VectorSearch,
    vector_filter,
)
from livedb.functions.takes import Takes
from livedb.schema.catalog import CatalogTable
from livedb.schema.tables import TableDefinition
from livedb.store.contract import Block, Entry
from livedb.text import decode_document
from livedb.transactions.table_indexes import BY_CREATION_TIME
from livedb.transactions.transaction import Snapshot
from livedb.values import Document

T_co = TypeVar("T_co", covariant=True)

Order = Literal["asc", "desc"]


class DocumentQuery(Takes[T_co]):
    """Documents of one table, by an index, in an order, through filters.

    Without `with_index`, documents come by creation time.
    """

    __slots__ = ("_build", "_equalities", "_filters", "_index", "_order", "_snapshot", "_table")

    def __init__(self, snapshot: Snapshot, table: str) -> None:
        self._snapshot = snapshot
        self._table = table
        self._index: str | None = None
        self._build: Callable[[IndexRangeBuilder], IndexRangeBuilder] | None = None
        self._equalities: Mapping[str, Any] = {}
        self._order: Order | None = None
        self._filters: tuple[Expression, ...] = ()

    # -- description ---------------------------------------------------------------------------

    def with_index(
        self,
        name: str,
        range: Callable[[IndexRangeBuilder], IndexRangeBuilder] | None = None,  # noqa: A002  # Convex's word; positional-only below
        /,
        **equalities: Any,
    ) -> DocumentQuery[T_co]:
        """Read by the index `name`, all of it or a range.

        Args:
            name: a declared index, `by_creation_time` or `by_id`.
            range: builds the range, as in `lambda q: q.eq("user", me).gt("due", now)`.
            equalities: the same as `.eq(field, value)` for each.

        Raises:
            IndexRangeError: no such index, or bounds that it cannot serve (when it is read).
        """
        if self._index is not None:
            raise IndexRangeError("A query reads by one index; .with_index() was called twice")
        copy = self._copy()
        copy._index, copy._build, copy._equalities = name, range, equalities
        return copy

    def with_search_index(
        self,
        name: str,
        search: str | Callable[[SearchFilterBuilder], SearchFilterBuilder],
        /,
        **equalities: Any,
    ) -> RankedQuery[T_co]:
        """Search by the words of a text, through the search index `name`; best documents first.

        A document is found that has one of the words, the last of which may be the beginning of
        one. Upper and lower case are the same; words after the 16th are ignored.

        Args:
            name: of a search index.
            search: the text; or a function that builds the search, as in
                `lambda q: q.search("body", text).eq("author", me)`.
            equalities: the same as `.eq(field, value)` for each; filter fields of the index.

        Raises:
            SearchError: the search contradicts the rules or the index (`code` says how).
        """
        return self._searched(TextSearch(name, search, equalities))

    def with_vector_index(
        self,
        name: str,
        vector: Iterable[float],
        /,
        *,
        limit: int = VECTOR_RESULTS,
        filter: Callable[[VectorFilterBuilder], VectorFilter] | None = None,  # noqa: A002  # Convex's word
    ) -> RankedQuery[T_co]:
        """Search for the vectors nearest to `vector`, through the vector index `name`.

        Args:
            name: of a vector index.
            vector: as many numbers as the index has dimensions: a list, a tuple, an array.
            limit: how many documents to find, 1 to 256.
            filter: narrows the search by filter fields of the index, as in
                `lambda q: q.or_(q.eq("author", me), q.eq("is_public", True))`.

        Raises:
            SearchError: the search contradicts the rules or the index (`code` says how).
        """
        return self._searched(VectorSearch(name, vector, limit, vector_filter(filter)))

    def _searched(self, search: Search) -> RankedQuery[T_co]:
        if self._index is not None or self._order is not None:
            raise SearchError(
                "A search has an index and an order of its own: neither .with_index() nor "
                ".order() go before it",
                code="InvalidSearchOrder",
            )
        return RankedQuery(self._snapshot, self._table, search, self._filters)

    def order(self, order: Order) -> DocumentQuery[T_co]:
        """Read in the index's order ("asc", the default) or backwards ("desc")."""
        if order not in ("asc", "desc"):
            raise IndexRangeError(f'order is "asc" or "desc", not {order!r}')
        if self._order is not None:
            raise IndexRangeError(".order() was called twice")
        copy = self._copy()
        copy._order = order
        return copy

    def filter(self, build: Callable[[FilterBuilder], Any]) -> DocumentQuery[T_co]:
        """Keep the documents for which an expression holds.

        Every document scanned is evaluated and counts as read: prefer an index range.
        """
        copy = self._copy()
        copy._filters = (*self._filters, build_filter(build))
        return copy

    def _copy(self) -> DocumentQuery[T_co]:
        copy: DocumentQuery[T_co] = DocumentQuery(self._snapshot, self._table)
        copy._index, copy._build, copy._equalities = self._index, self._build, self._equalities
        copy._order, copy._filters = self._order, self._filters
        return copy

    # -- verbs ---------------------------------------------------------------------------------

    def collect(self) -> list[T_co]:
        """All documents, as a list.

        Raises:
            LimitError: more documents or bytes than one run may read.
        """
        if self._filters:
            return list(self)
        return self._take_unfiltered(None)

    def take(self, count: int) -> list[T_co]:
        """The first `count` documents."""
        count = checked_count(count)
        if not self._filters:
            return self._take_unfiltered(count) if count else []
        taken: list[T_co] = []
        if count:
            for document in self:
                taken.append(document)
                if len(taken) == count:
                    break
        return taken

    def __iter__(self) -> Iterator[T_co]:
        located = self._locate()
        if located is None:
            return
        table, keys = located
        filters = self._filters
        for entry in self._iter_entries(table, keys):
            document = decode_document(entry[1], entry[2])
            if all(passes(expression, document) for expression in filters):
                yield cast("T_co", document)

    def paginate(
        self,
        options: Mapping[str, Any] | None = None,
        *,
        num_items: int | None = None,
        cursor: str | None = None,
        end_cursor: str | None = None,
    ) -> Document:
        """One page: `{page, isDone, continueCursor, splitCursor, pageStatus}`.

        Args:
            options: Convex's `paginationOpts`, as clients send it.
            num_items: documents of the page; a page may be shorter than that only at the end, or
                when `maximumRowsRead` or `maximumBytesRead` of `options` was reached.
            cursor: the `continueCursor` of the page before; None for the first page.
            end_cursor: read up to this cursor instead of counting.

        Raises:
            PaginationError: a page size or cursor that cannot be used.
        """
        merged = page_options(options, num_items=num_items, cursor=cursor, end_cursor=end_cursor)
        return pinned_page(
            self._snapshot, PageOptions.parse(merged), lambda pinned: _Pager(self, pinned).read()
        )

    # -- reading -------------------------------------------------------------------------------

    @property
    def _reverse(self) -> bool:
        return self._order == "desc"

    def _locate(self) -> tuple[CatalogTable, KeyRange] | None:
        """The table and the encoded range; None when there is nothing to read."""
        table = self._snapshot.table(self._table)
        if table is None:
            if self._build is not None:
                self._build(IndexRangeBuilder())  # its mistakes are told even without documents
            return None
        keys = self._range_in(table.definition)
        return None if keys.is_empty else (table, keys)

    def _range_in(self, definition: TableDefinition) -> KeyRange:
        return key_range(definition, self._index or BY_CREATION_TIME, self._build, self._equalities)

    def _take_unfiltered(self, count: int | None) -> list[T_co]:
        located = self._locate()
        if located is None:
            return []
        table, keys = located
        return cast("list[T_co]", _documents(self._blocks(table, keys, count)))

    def _blocks(self, table: CatalogTable, keys: KeyRange, count: int | None) -> list[Block]:
        read = self._snapshot.range_read(
            table, self._index or BY_CREATION_TIME, *keys, reverse=self._reverse
        )
        return self._snapshot.blocks(table, read, count)

    def _iter_entries(self, table: CatalogTable, keys: KeyRange) -> Iterator[Entry]:
        read = self._snapshot.range_read(
            table, self._index or BY_CREATION_TIME, *keys, reverse=self._reverse
        )
        return self._snapshot.iter_entries(table, read)

    def _fingerprint(self) -> bytes:
        """What tells this query's cursors from those of others; the same before its table exists.

        Raises:
            IndexRangeError: as reading does.
        """
        index = self._index or BY_CREATION_TIME
        table = self._snapshot.table(self._table)
        if table is None and index not in BUILT_IN:
            return fingerprint(f"{self._table}|{index}|no such table")
        definition = TableDefinition(self._table) if table is None else table.definition
        keys = self._range_in(definition)
        filters = ",".join(expression.text for expression in self._filters)
        return fingerprint(
            f"{self._table}|{index}|{index_fields(definition, index)}|{self._order or 'asc'}|"
            f"{keys.lower.hex()}|{keys.upper.hex() if keys.upper is not None else ''}|{filters}"
        )


def _documents(blocks: Sequence[Block]) -> list[Document]:
    if len(blocks) == 1:
        return blocks[0].documents()
    return [document for block in blocks for document in block.documents()]


def _key_at(blocks: Sequence[Block], place: int) -> bytes:
    """The key of a document by its place in all blocks together."""
    for block in blocks:
        if place < len(block):
            return block.key_at(place)
        place -= len(block)
    raise IndexError(place)


class _Pager:
    """Reads one page of a query."""

    def __init__(self, query: DocumentQuery[Any], options: PageOptions) -> None:
        self.query = query
        self.options = options
        self.page: list[Document] = []
        self.scanned_keys: list[bytes] = []
        self.key_of: Callable[[int], bytes] = self.scanned_keys.__getitem__
        """The key of a document that was scanned, by its place."""
        self.scanned = 0
        self.scanned_bytes = 0

    def read(self) -> Document:
        """Read the page."""
        mark = self.query._fingerprint()
        options = self.options
        start = decode_cursor(options.cursor, mark) if options.cursor is not None else None
        end = decode_cursor(options.end_cursor, mark) if options.end_cursor is not None else None
        located = self.query._locate()
        if located is None or (start is not None and start.key is None):
            return self._result(mark, Cursor(None), is_done=True)
        table, keys = located
        bounded = self._bounded(keys, start, end)
        is_full = False
        if not bounded.is_empty:
            looks_at_each = self.query._filters or end is not None or options.has_read_limits
            is_full = (self._read_each if looks_at_each else self._read_all)(table, bounded)
        if is_full:
            return self._result(mark, Cursor(self.last_key), is_done=False)
        if end is not None and end.key is not None:
            return self._result(mark, end, is_done=False)
        return self._result(mark, Cursor(None), is_done=True)

    def _read_all(self, table: CatalogTable, keys: KeyRange) -> bool:
        """Fill the page with whatever lies in the range; whether it is full."""
        blocks = self.query._blocks(table, keys, self.options.page_documents)
        self.page = _documents(blocks)
        self.key_of = lambda place: _key_at(blocks, place)
        self.scanned = len(self.page)
        if blocks:
            self.last_key = blocks[-1].last_key
        return len(self.page) == self.options.page_documents

    def _read_each(self, table: CatalogTable, keys: KeyRange) -> bool:
        """Fill the page with what passes the filters, within the limits; whether it is full."""
        for entry in self.query._iter_entries(table, keys):
            self._consider(entry)
            if self.options.end_cursor is None and (
                len(self.page) == self.options.page_documents or self._is_over_limit()
            ):
                return True
        return False

    def _bounded(self, keys: KeyRange, start: Cursor | None, end: Cursor | None) -> KeyRange:
        """The range after `start` and up to and including `end`, in the query's order."""
        lower, upper = keys.lower, keys.upper
        if self.query._reverse:
            if start is not None and start.key is not None:
                upper = start.key
            if end is not None and end.key is not None:
                lower = end.key
        else:
            if start is not None and start.key is not None:
                lower = start.key + b"\x00"
            if end is not None and end.key is not None:
                upper = end.key + b"\x00"
        return KeyRange(keys.prefix, lower, upper)

    def _consider(self, entry: Entry) -> None:
        self.scanned += 1
        self.scanned_bytes += len(entry[2][1])
        self.last_key = entry[0]
        document = decode_document(entry[1], entry[2])
        self.scanned_keys.append(entry[0])
        if all(passes(expression, document) for expression in self.query._filters):
            self.page.append(document)

    def _is_over_limit(self) -> bool:
        return self._used_share() >= 1

    def _used_share(self) -> float:
        return self.options.used_share(self.scanned, self.scanned_bytes)

    def _status(self) -> str | None:
        """Whether a client that follows this page should split it."""
        is_short = len(self.page) < self.options.page_documents and self._is_over_limit()
        if is_short and self._can_be_split:
            return "SplitRequired"
        is_large = len(self.page) > SPLIT_DOCUMENTS_MIN or self._used_share() > SPLIT_SHARE
        return "SplitRecommended" if is_large else None

    @property
    def _can_be_split(self) -> bool:
        """A client shows nothing of a page that must be split before it is: it must be possible."""
        return self.scanned > SPLITTABLE_DOCUMENTS_MIN

    def _result(self, mark: bytes, cursor: Cursor, *, is_done: bool) -> Document:
        result = Document(
            page=self.page, isDone=is_done, continueCursor=encode_cursor(cursor, mark)
        )
        if self._can_be_split:
            # By what was scanned, not by what passed the filters: each half reads half as much.
            middle = self.key_of((self.scanned - 1) // 2)
            result["splitCursor"] = encode_cursor(Cursor(middle), mark)
        status = self._status()
        if status is not None:
            result["pageStatus"] = status
        return result
