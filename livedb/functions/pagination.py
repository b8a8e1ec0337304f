"""Pages and cursors.

A cursor is the index key after which the next page begins, or the end, with a fingerprint of the
query it belongs to: a cursor of another query is refused instead of giving wrong rows. A cursor is
a key, not an id, so a page can be continued after its last document was deleted.

Source: spec semantics.md 11, features.md 7.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from livedb.errors import PaginationError
from livedb.values import Document, whole

PAGE_DOCUMENTS_MAX = 32_000
"""Documents of one page (Convex); more is a PageSizeTooLarge."""

SPLIT_DOCUMENTS_MIN = 6144
"""Documents beyond which a page should be split (Convex)."""

SPLIT_SHARE = 0.75
"""Share of its read limits beyond which a page should be split (Convex)."""

SPLITTABLE_DOCUMENTS_MIN = 2
"""Scanned documents of a page beyond which it has a middle to be split at (Convex)."""

_AFTER, _END = b"a", b"e"
_BETWEEN_CURSORS = ","
_FINGERPRINT_BYTES = 8


class Cursor(NamedTuple):
    """Where a page ends: after the key, or (None) at the end of the range."""

    key: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """What to read: the arguments of `.paginate`, checked."""

    page_documents: int
    cursor: str | None = None
    end_cursor: str | None = None
    documents_read_max: int | None = None
    bytes_read_max: int | None = None

    @property
    def has_read_limits(self) -> bool:
        """Whether a page may end before it is full because of what was read for it."""
        return self.documents_read_max is not None or self.bytes_read_max is not None

    def used_share(self, documents: int, size_bytes: int) -> float:
        """How much of the limits given for this page is used; 1 and more is all of it."""
        pairs = ((documents, self.documents_read_max), (size_bytes, self.bytes_read_max))
        return max((used / max(most, 1) for used, most in pairs if most is not None), default=0)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> PageOptions:
        """From the wire's `paginationOpts`."""
        count = _whole("numItems", options.get("numItems"))
        if count < 1:
            raise PaginationError(
                "A page must have at least one document", code="NoDocumentsForPagination"
            )
        if count > PAGE_DOCUMENTS_MAX:
            raise PaginationError(
                f"A page has at most {PAGE_DOCUMENTS_MAX} documents, not {count}",
                code="PageSizeTooLarge",
            )
        return cls(
            page_documents=count,
            cursor=options.get("cursor"),
            end_cursor=options.get("endCursor"),
            documents_read_max=_limit("maximumRowsRead", options),
            bytes_read_max=_limit("maximumBytesRead", options),
        )


def page_options(
    options: Mapping[str, Any] | None = None,
    *,
    num_items: int | None = None,
    cursor: str | None = None,
    end_cursor: str | None = None,
) -> dict[str, Any]:
    """The wire's `paginationOpts` of options in a dict, by name, or both.

    Raises:
        PaginationError: they are no dict.
    """
    if options is not None and not isinstance(options, Mapping):
        raise PaginationError(
            "paginate() takes options in a dict, such as {'numItems': 10, 'cursor': None}, or "
            f"num_items= and cursor= by name, not {options!r}",
            code="InvalidPaginationLimit",
        )
    given = {"numItems": num_items, "cursor": cursor, "endCursor": end_cursor}
    return {
        **(options or {}),
        **{name: value for name, value in given.items() if value is not None},
    }


def _whole(name: str, value: Any) -> int:
    number = whole(value)
    if number is None:
        raise PaginationError(
            f"{name} must be a whole number, not {value!r}", code="InvalidPaginationLimit"
        )
    return number


def checked_count(count: object) -> int:
    """How many documents `take()` was asked for.

    Raises:
        PaginationError: it is no number of documents.
    """
    number = whole(count)
    if number is None or number < 0:
        raise PaginationError(
            f"take() needs a whole number of at least 0, not {count!r}", code="InvalidLimit"
        )
    return number


def _limit(name: str, options: Mapping[str, Any]) -> int | None:
    value = options.get(name)
    if value is None:
        return None
    if _whole(name, value) < 0:
        raise PaginationError(
            f"{name} must be at least 0, not {value!r}", code="InvalidPaginationLimit"
        )
    return int(value)


class PagedRun(Protocol):
    """The run that reads a page, as it knows the page of earlier runs: `Snapshot`."""

    page_ends: list[str] | None
    earlier_ends: list[str] | None


def pinned_page(
    run: PagedRun, options: PageOptions, read: Callable[[PageOptions], Document]
) -> Document:
    """One page; one of a live query ends where the query's earlier runs ended it.

    So pages that follow each other never gap or overlap, however many documents come and go.
    """
    ends = run.page_ends = run.page_ends or []
    earlier = run.earlier_ends or ()
    pinned = options
    if options.end_cursor is None and len(ends) < len(earlier):
        pinned = replace(options, end_cursor=earlier[len(ends)])
    try:
        page = read(pinned)
    except PaginationError:
        if pinned is options:
            raise
        page = read(options)  # the end is another query's: the function changed
    ends.append(page["continueCursor"])
    return page


def fingerprint(description: str) -> bytes:
    """Eight bytes that tell queries apart."""
    return hashlib.blake2b(description.encode(), digest_size=_FINGERPRINT_BYTES).digest()


def encode_cursor(cursor: Cursor, query: bytes) -> str:
    """The text of a cursor of the query with this fingerprint."""
    body = query + (_END if cursor.key is None else _AFTER + cursor.key)
    return base64.urlsafe_b64encode(body).decode()


def decode_cursor(text: str, query: bytes) -> Cursor:
    """The cursor, if it belongs to the query with this fingerprint.

    Raises:
        PaginationError: InvalidCursor.
    """
    try:
        body = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError, AttributeError):
        raise _invalid("is not a cursor") from None
    kind = body[_FINGERPRINT_BYTES : _FINGERPRINT_BYTES + 1]
    if body[:_FINGERPRINT_BYTES] != query:
        raise _invalid("belongs to a query with another index, range, order or filter")
    if kind == _END:
        return Cursor(None)
    if kind != _AFTER:
        raise _invalid("is not a cursor")
    return Cursor(body[_FINGERPRINT_BYTES + 1 :])


def journal_of(ends: list[str] | None) -> str | None:
    """What a client keeps of a run: the cursors at which its pages ended; None without pages."""
    return _BETWEEN_CURSORS.join(ends) if ends else None


def ends_of(journal: str | None) -> list[str] | None:
    """The cursors of a journal, whatever a client made of it: each is checked where it is used."""
    return journal.split(_BETWEEN_CURSORS) if journal else None


def _invalid(what: str) -> PaginationError:
    return PaginationError(
        f"The cursor {what}. Start again with cursor=None.", code="InvalidCursor"
    )
