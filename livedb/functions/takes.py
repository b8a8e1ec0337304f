"""What every query does with the first documents that it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar, cast

from livedb.errors import NotUniqueError

T_co = TypeVar("T_co", covariant=True)


class Takes(ABC, Generic[T_co]):
    """A query of one table, whatever the order in which it finds documents."""

    __slots__ = ()

    _table: str

    @abstractmethod
    def take(self, count: int) -> list[T_co]:
        """The first `count` documents."""

    def first(self) -> T_co | None:
        """The first document, or None."""
        found = self.take(1)
        return found[0] if found else None

    def unique(self) -> T_co | None:
        """The only document, or None.

        Raises:
            NotUniqueError: there is more than one.
        """
        found = self.take(2)
        if len(found) > 1:
            ids = [cast("dict[str, Any]", document)["_id"] for document in found]
            raise NotUniqueError(
                f"unique() query returned more than one result from table {self._table}: {ids}"
            )
        return found[0] if found else None
