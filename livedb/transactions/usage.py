"""What one run has used of its limits.

Counters are raised before they are compared, as in Convex, so the error names the first document
too many and nothing beyond it was handed out.
"""

from __future__ import annotations

from typing import NoReturn

from livedb.errors import LimitError
from livedb.limits import Limits
from livedb.store.contract import StoredDocument

WARN_SHARE = 0.8


class Usage:
    """Documents, bytes and ranges a run has read and written, and functions it has scheduled."""

    __slots__ = (
        "bytes_read",
        "bytes_written",
        "documents_read",
        "documents_written",
        "functions_scheduled",
        "index_ranges",
        "limits",
        "scheduled_bytes",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.documents_read = 0
        self.bytes_read = 0
        self.index_ranges = 0
        self.documents_written = 0
        self.bytes_written = 0
        self.functions_scheduled = 0
        self.scheduled_bytes = 0

    def count_range(self, table: str) -> None:
        self.index_ranges += 1
        if self.index_ranges > self.limits.index_ranges_max:
            self._refuse_ranges(table)

    def count_point(self, stored: StoredDocument | None, table: str) -> None:
        """A read of one document by its id, found or not."""
        self.index_ranges += 1
        if self.index_ranges > self.limits.index_ranges_max:
            self._refuse_ranges(table)
        if stored is None:
            return
        # What `count_read` does, written out: this is on the path of every point read.
        self.documents_read += 1
        self.bytes_read += len(stored.text)
        if (
            self.documents_read > self.limits.documents_read_max
            or self.bytes_read > self.limits.bytes_read_max
        ):
            self._refuse_read(table)

    def count_read(self, documents: int, size_bytes: int, table: str) -> None:
        self.documents_read += documents
        self.bytes_read += size_bytes
        if (
            self.documents_read > self.limits.documents_read_max
            or self.bytes_read > self.limits.bytes_read_max
        ):
            self._refuse_read(table)

    def count_write(self, size_bytes: int, table: str) -> None:
        self.documents_written += 1
        self.bytes_written += size_bytes
        if (
            self.documents_written > self.limits.documents_written_max
            or self.bytes_written > self.limits.bytes_written_max
        ):
            self._refuse_write(table)

    def count_scheduled(self, size_bytes: int) -> None:
        """A function scheduled, with arguments of that size."""
        self.functions_scheduled += 1
        self.scheduled_bytes += size_bytes
        limits = self.limits
        if self.functions_scheduled > limits.functions_scheduled_max:
            raise LimitError(
                "Too many functions scheduled by this mutation "
                f"(limit: {limits.functions_scheduled_max}). Schedule one that does several "
                "things, or that schedules the rest.",
                code="TooManyFunctionsScheduled",
            )
        if self.scheduled_bytes > limits.scheduled_bytes_max:
            raise LimitError(
                "Too large total size of the arguments of scheduled functions "
                f"(actual: {self.scheduled_bytes:,} bytes, limit: "
                f"{limits.scheduled_bytes_max:,} bytes). Pass ids, and read the rest later.",
                code="ScheduledFunctionsArgumentsTooLarge",
            )

    def _refuse_ranges(self, table: str) -> NoReturn:
        raise LimitError(
            "Too many reads in a single function execution "
            f"(limit: {self.limits.index_ranges_max}), the last of them from {table!r}. "
            "Read several documents by one index range, or use db.sql.",
            code="TooManyReads",
        )

    def _refuse_read(self, table: str) -> NoReturn:
        if self.documents_read > self.limits.documents_read_max:
            raise LimitError(
                "Too many documents read in a single function execution "
                f"(limit: {self.limits.documents_read_max}), the last of them from {table!r}. "
                "Consider using smaller limits in your queries, paginating your queries, or using "
                "indexed queries with a selective index range expressions; db.sql has no such "
                "limit.",
                code="TooManyDocumentsRead",
            )
        raise LimitError(
            "Too many bytes read in a single function execution "
            f"(limit: {self.limits.bytes_read_max} bytes), the last of them from {table!r}. "
            "Paginate, use a more selective index range, or use db.sql.",
            code="TooManyBytesRead",
        )

    def _refuse_write(self, table: str) -> NoReturn:
        if self.documents_written > self.limits.documents_written_max:
            raise LimitError(
                "Too many writes in a single function execution "
                f"(limit: {self.limits.documents_written_max}), the last of them to {table!r}. "
                "Write in several mutations, or use db.load for bulk data.",
                code="TooManyWrites",
            )
        raise LimitError(
            "Too many bytes written in a single function execution "
            f"(limit: {self.limits.bytes_written_max} bytes), the last of them to {table!r}. "
            "Write in several mutations, or use db.load for bulk data.",
            code="TooManyBytesWritten",
        )

    def is_near_a_limit(self) -> bool:
        """Whether `warnings` may have anything to say."""
        limits = self.limits
        return (
            self.documents_read >= WARN_SHARE * limits.documents_read_max
            or self.bytes_read >= WARN_SHARE * limits.bytes_read_max
            or self.index_ranges >= WARN_SHARE * limits.index_ranges_max
            or self.documents_written >= WARN_SHARE * limits.documents_written_max
            or self.bytes_written >= WARN_SHARE * limits.bytes_written_max
            or (
                self.functions_scheduled > 0  # seldom: it spares every other run two products
                and (
                    self.functions_scheduled >= WARN_SHARE * limits.functions_scheduled_max
                    or self.scheduled_bytes >= WARN_SHARE * limits.scheduled_bytes_max
                )
            )
        )

    def warnings(self) -> list[str]:
        """One line for each limit that is at least 80 % used."""
        limits = self.limits
        pairs = (
            ("documents read", self.documents_read, limits.documents_read_max),
            ("bytes read", self.bytes_read, limits.bytes_read_max),
            ("index ranges read", self.index_ranges, limits.index_ranges_max),
            ("documents written", self.documents_written, limits.documents_written_max),
            ("bytes written", self.bytes_written, limits.bytes_written_max),
            ("functions scheduled", self.functions_scheduled, limits.functions_scheduled_max),
            ("bytes of their arguments", self.scheduled_bytes, limits.scheduled_bytes_max),
        )
        return [
            f"{used:,} of at most {most:,} {what}"
            for what, used, most in pairs
            if used and used >= WARN_SHARE * most
        ]
