"""Results of live queries for livedb's own client: whole, or what changed since the last one.

Documents are kept as texts at both ends, so an unchanged one is neither sent nor decoded. A changed
list is told as *runs*: stretches of the list the client has, and new texts between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Raw

from livedb.protocol.codecs import PACK
from livedb.protocol.messages import ProtocolError
from livedb.text import decode_value, encode_value


class Rows(NamedTuple):
    """A list of documents: their texts, and their ids when all have one and they differ."""

    ids: tuple[str, ...] | None
    texts: tuple[bytes, ...]


class WireResult(NamedTuple):
    """A result as it arrived: one of rows, the text of a value, or an Arrow stream."""

    number: int
    rows: Rows | None = None
    text: bytes | None = None
    stream: bytes | None = None


def write_value(text: bytes, number: int) -> Raw:
    """A value that is no list of documents."""
    return _payload({"kind": "value", "number": number}, [text])


def write_table(stream: bytes, number: int) -> Raw:
    """The rows of a SQL statement, as an Arrow IPC stream."""
    return _payload({"kind": "table", "number": number}, [stream])


def write_rows(new: Rows, old: Rows | None, number: int) -> Raw:
    """A list of documents, as what changed since `old` if the client has that and ids tell.

    Cost: O(documents) in time; in bytes what changed and one number or two for each stretch.
    """
    if old is None or old.ids is None or new.ids is None:
        ids = None if new.ids is None else list(new.ids)
        return _payload({"kind": "rows", "number": number, "ids": ids}, list(new.texts))
    runs, ids, texts = _runs(new, old)
    return _payload({"kind": "runs", "number": number, "runs": runs, "ids": ids}, texts)


def _runs(new: Rows, old: Rows) -> tuple[list[int], list[str], list[bytes]]:
    """Pairs of (first, count): a stretch of the old list, or from -1 on that many new ones."""
    assert old.ids is not None, "rows are matched by id"
    assert new.ids is not None, "rows are matched by id"
    place_of = {document_id: place for place, document_id in enumerate(old.ids)}
    runs: list[int] = []
    ids: list[str] = []
    texts: list[bytes] = []
    following = -2  # the old place that would lengthen the last run
    for document_id, text in zip(new.ids, new.texts, strict=True):
        place = place_of.get(document_id)
        if place is None or old.texts[place] != text:
            place = -1
            ids.append(document_id)
            texts.append(text)
        if place == following:
            runs[-1] += 1
        else:
            runs += (place, 1)
        following = -1 if place == -1 else place + 1
    return runs, ids, texts


def read_result(raw: Raw, old: WireResult | None) -> WireResult:
    """The result that arrived, given the one before.

    Raises:
        ProtocolError: it is none, or it does not continue `old`.
    """
    payload = PACK.read_payload(raw)
    try:
        header = decode_value(payload.text)
        return _read(header, payload.attachments, old)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ProtocolError(f"This is no result: {error!r}") from None


def _read(header: Any, attachments: Sequence[bytes], old: WireResult | None) -> WireResult:
    number = header["number"]
    match header["kind"]:
        case "value":
            return WireResult(number, text=attachments[0])
        case "table":
            return WireResult(number, stream=attachments[0])
        case "rows":
            ids = None if header["ids"] is None else tuple(header["ids"])
            return WireResult(number, rows=Rows(ids, tuple(attachments)))
        case "runs":
            return WireResult(number, rows=_joined(header, attachments, old))
        case kind:
            raise ProtocolError(f"A result has no kind {kind!r}")


def _joined(header: Any, texts: Sequence[bytes], old: WireResult | None) -> Rows:
    if old is None or old.rows is None or old.rows.ids is None:
        raise ProtocolError("A change of rows came, and there is nothing that it changes")
    ids: list[str] = []
    joined: list[bytes] = []
    taken = 0
    runs = header["runs"]
    for first, count in zip(runs[::2], runs[1::2], strict=True):
        if first == -1:
            ids += header["ids"][taken : taken + count]
            joined += texts[taken : taken + count]
            taken += count
        else:
            if not 0 <= first <= first + count <= len(old.rows.ids):
                raise ProtocolError("A change of rows does not continue those before it")
            ids += old.rows.ids[first : first + count]
            joined += old.rows.texts[first : first + count]
    return Rows(tuple(ids), tuple(joined))


def _payload(header: Mapping[str, Any], attachments: list[bytes]) -> Raw:
    return PACK.write_payload(encode_value(dict(header)), attachments)
