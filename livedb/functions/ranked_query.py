"""Documents that a search finds, best first: what a query with a search or vector index gives.

Source: features.md 5; a page of a search is a stretch of ranks (semantics.md 11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar, cast

from livedb.errors import SearchError
from livedb.functions.filters import Expression, FilterBuilder, build_filter, passes
from livedb.functions.pagination import (
    SPLIT_SHARE,
    Cursor,
    PageOptions,
    checked_count,
    decode_cursor,
    encode_cursor,
    fingerprint,
    page_options,
    pinned_page,
)
from livedb.functions.searches import Search
from livedb.functions.takes import Takes
from livedb.limits import SEARCH_RESULTS_MAX
from livedb.text import decode_document
from livedb.transactions.transaction import Snapshot
from livedb.values import Document

if TYPE_CHECKING:
    from livedb.search.versioned import Hit

T = TypeVar("T")

_RANK_BYTES = 4


class Scored(NamedTuple, Generic[T]):
    """A document that a search found, and how well it fits: larger is better."""

    document: T
    score: float


class RankedQuery(Takes[T]):
    """Documents of one table that a search finds, best first.

    Words: a document that has one of them is found. Vectors: the nearest are found, by the cosine
    of the angle. Each method that narrows gives a new description, which may be used many times.
    """

    __slots__ = ("_filters", "_search", "_snapshot", "_table")

    def __init__(
        self, snapshot: Snapshot, table: str, search: Search, filters: tuple[Expression, ...]
    ) -> None:
        search.check()
        self._snapshot = snapshot
        self._table = table
        self._search = search
        self._filters = filters

    def filter(self, build: Callable[[FilterBuilder], Any]) -> RankedQuery[T]:
        """Keep the documents for which an expression holds.

        It is evaluated on what the search found: prefer filter fields of the index.
        """
        filters = (*self._filters, build_filter(build))
        return RankedQuery(self._snapshot, self._table, self._search, filters)

    def order(self, order: str) -> NoReturn:
        """Refused: what a search finds comes best first."""
        raise SearchError(
            f".order({order!r}) is not for a search, whose documents come best first; sort the "
            "list",
            code="InvalidSearchOrder",
        )

    # -- verbs ---------------------------------------------------------------------------------

    def collect(self) -> list[T]:
        """All documents, as a list.

        Raises:
            SearchError: there are more than 1,024; `take` some, or narrow the search.
        """
        return list(self)

    def take(self, count: int) -> list[T]:
        """The best `count` documents."""
        return [found.document for found in self.scored(checked_count(count))]

    def scored(self, count: int | None = None) -> list[Scored[T]]:
        """The best `count` documents (None: all) with their scores, as `(document, score)`.

        A score of words says something beside others of the same search only; one of vectors is
        the cosine of the angle, from -1 to 1.
        """
        if count is None:
            return list(self._passing(None))
        wanted = checked_count(count)
        return list(islice(self._passing(wanted), wanted))

    def __iter__(self) -> Iterator[T]:
        for found in self._passing(None):
            yield found.document

    def paginate(
        self,
        options: Mapping[str, Any] | None = None,
        *,
        num_items: int | None = None,
        cursor: str | None = None,
        end_cursor: str | None = None,
    ) -> Document:
        """One page: see `DocumentQuery.paginate`. A cursor is a rank: pages shift with the ranks.

        Raises:
            PaginationError: a page size or cursor that cannot be used.
            SearchError: it goes beyond the 1,024th document.
        """
        merged = page_options(options, num_items=num_items, cursor=cursor, end_cursor=end_cursor)
        return pinned_page(self._snapshot, PageOptions.parse(merged), self._page)

    # -- reading -------------------------------------------------------------------------------

    def hits(self, limit: int) -> list[Hit]:
        """Ids and scores of at most `limit` documents, best first, before `.filter`."""
        table = self._snapshot.table(self._table)
        return [] if table is None else self._search.hits(self._snapshot, table, limit)

    def _passing(self, wanted: int | None) -> Iterator[Scored[T]]:
        """The documents that pass the filters."""
        return (found for _, found in self._scanned(0, wanted) if found is not None)

    def _scanned(self, start: int, wanted: int | None) -> Iterator[tuple[int, Scored[T] | None]]:
        """Each rank from `start` on, with its document if that passes the filters.

        Args:
            start: the first rank.
            wanted: how many are needed at most, if that is known.
        """
        if wanted == 0:
            return
        most = SEARCH_RESULTS_MAX + 1
        is_known = wanted is not None and not self._filters
        limit = min(start + cast("int", wanted), most) if is_known else most
        run = self._snapshot
        hits = self.hits(limit)
        table = run.table(self._table)
        for rank, hit in enumerate(hits[start:], start):
            if rank >= SEARCH_RESULTS_MAX:
                raise SearchError(
                    f"Search query scanned too many documents (fetched {SEARCH_RESULTS_MAX}). "
                    "Consider using a smaller limit, paginating the query, or using a filter "
                    "field to limit the results.",
                    code="SearchQueryScannedTooManyDocumentsError",
                )
            assert table is not None, "who has hits has a table"
            stored = run.current(table, hit.id)
            if stored is None:
                continue  # the loop that reads this deleted it
            document = decode_document(hit.id, stored)
            is_passing = all(passes(expression, document) for expression in self._filters)
            yield rank, Scored(cast("T", document), hit.score) if is_passing else None

    def _page(self, options: PageOptions) -> Document:
        mark = self._fingerprint()
        start = 0
        if options.cursor is not None:
            after = decode_cursor(options.cursor, mark)
            if after.key is None:
                return Document(page=[], isDone=True, continueCursor=encode_cursor(after, mark))
            start = _rank_of(after)
        end: Cursor | None = None
        if options.end_cursor is not None:
            end = decode_cursor(options.end_cursor, mark)
        page: list[T] = []
        ranks: list[int] = []
        last: int | None = None
        used_share = 0.0
        usage = self._snapshot.usage
        documents, size_bytes = usage.documents_read, usage.bytes_read
        for rank, found in self._scanned(start, options.page_documents if end is None else None):
            if end is not None and end.key is not None and rank >= _rank_of(end):
                break
            if found is not None:
                page.append(found.document)
                ranks.append(rank)
            used_share = options.used_share(
                usage.documents_read - documents, usage.bytes_read - size_bytes
            )
            if end is None and (len(page) == options.page_documents or used_share >= 1):
                last = rank
                break
        cursor = end or Cursor(None) if last is None else _after(last)
        result = Document(
            page=page, isDone=cursor.key is None, continueCursor=encode_cursor(cursor, mark)
        )
        if used_share > SPLIT_SHARE:
            is_short = used_share >= 1 and len(page) < options.page_documents
            result["pageStatus"] = "SplitRequired" if is_short else "SplitRecommended"
        if len(page) > 2:
            middle = ranks[(len(page) - 1) // 2]
            result["splitCursor"] = encode_cursor(_after(middle), mark)
        return result

    def _fingerprint(self) -> bytes:
        filters = ",".join(expression.text for expression in self._filters)
        return fingerprint(f"{self._table}|{self._search.description}|{filters}")


def _after(rank: int) -> Cursor:
    """The cursor behind a document of this rank: the rank at which the next page begins."""
    return Cursor((rank + 1).to_bytes(_RANK_BYTES, "big"))


def _rank_of(cursor: Cursor) -> int:
    assert cursor.key is not None, "the end has no rank"
    return int.from_bytes(cursor.key, "big")
