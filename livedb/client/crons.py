"""`db.crons`: functions that run again and again, from a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from livedb.functions.calling import name_of
from livedb.functions.cron_functions import CRON_FUNCTIONS
from livedb.functions.crons import Crons
from livedb.functions.definition import FunctionKind

if TYPE_CHECKING:
    from livedb.client.database import Database

_FUNCTIONS = {function.name: function for function in CRON_FUNCTIONS}


def crons_of(database: Database) -> Crons:
    """The crons of a workspace; what is said inside a mutation is part of its commit."""

    def ask(_: FunctionKind, name: str, args: Mapping[str, Any]) -> Any:
        function = _FUNCTIONS[name]
        return database.backend.run(function, function.bind((), args))

    return Crons(ask, name_of)
