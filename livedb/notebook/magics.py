"""`%%sql` and `%%live`: cells that are SQL.

    %%sql                       %%live late <<
    select carrier, count(*)    select * from flights
    from flights group by all   where delay > $minutes

`%%sql` shows the rows of now, as `db.sql` does, and `%%live` a table that follows them, as
`db.sql(..).live()` does; `name <<` keeps what is shown under a name. `$minutes` is the variable of
that name, which may be a widget. The workspace is the variable `db`, or the only one there is, or
what `--db name` names. `%sql` and `%live` are the same on one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from livedb.client.database import Database
from livedb.errors import SqlError
from livedb.interchange.sql_text import parameter_names

_ASKED = re.compile(
    r"\s*(?:--db\s+(?P<db>\S+)\s*)?(?:(?P<name>[^\W\d]\w*)\s*<<)?(?P<sql>.*)", re.DOTALL
)


def offer(shell: Any) -> None:
    """Register the magics in an IPython shell, but over nobody else's of these names."""
    known = shell.magics_manager.magics
    for name, show in (("sql", _rows), ("live", _handle)):
        if name not in known["cell"] and name not in known["line"]:
            _register(shell, name, show)


def load(shell: Any) -> None:
    """Register them whoever had these names: `%load_ext livedb`."""
    for name, show in (("sql", _rows), ("live", _handle)):
        _register(shell, name, show)


def _register(shell: Any, name: str, show: Callable[[Any], Any]) -> None:
    magic = partial(_run, shell, show)
    magic.__doc__ = __doc__  # what `%%sql?` shows
    shell.register_magic_function(magic, magic_kind="line_cell", magic_name=name)


def _rows(result: Any) -> Any:
    return result


def _handle(result: Any) -> Any:
    return result.live()


def _run(shell: Any, show: Callable[[Any], Any], line: str, cell: str = "") -> Any:
    """What a magic gives for its line and the rest of its cell; None where it got a name."""
    asked = _ASKED.fullmatch(line)
    assert asked is not None, "the last group takes anything"
    names = shell.user_ns
    text = f"{asked['sql']}\n{cell}".strip()
    database = _database(names, asked["db"])
    params = {each: names[each] for each in parameter_names(text) if each in names}
    shown = show(database.sql(text, params or None))
    if asked["name"] is None:
        return shown
    shell.push({asked["name"]: shown})
    return None


def _database(names: dict[str, Any], wanted: str | None) -> Database:
    """The workspace that a cell is about.

    Raises:
        SqlError: there is none, or several and none is `db`.
    """
    if wanted is not None:
        found = names.get(wanted)
        if isinstance(found, Database):
            return found
        raise SqlError(f"--db {wanted}: no variable of that name is a workspace")
    if isinstance(database := names.get("db"), Database):
        return database
    there = {name: each for name, each in names.items() if isinstance(each, Database)}
    if len({id(each) for each in there.values()}) == 1:
        return next(iter(there.values()))
    if not there:
        raise SqlError("There is no workspace here. Open one first: db = livedb.open(..)")
    raise SqlError(f"Which workspace? --db {' or --db '.join(sorted(there))}")
