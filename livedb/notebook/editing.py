"""Editing the documents of a table from its view on a page. No comm, no thread of its own.

An *edit* begins when a reader opens a cell: the editor remembers the value that stood there. It
ends with a mutation that changes the field if that value still stands there, so that nobody writes
over what another one wrote meanwhile; the reader is shown what is there now and decides again. What
was done here can be undone, by the same rule: an edit if its value still stands there, the commit
that added or deleted rows if nobody has written to them since.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from livedb.client.backend import Backend
from livedb.errors import InvalidValueError, LivedbError
from livedb.functions.table_functions import table_function
from livedb.notebook.cells import cut
from livedb.notebook.entries import cleared_entry, text_of_entry, value_of_entry
from livedb.schema.validators import AnyValidator, Validator
from livedb.values import UNSET, Missing, Value
from livedb.wording import counted

EDITS_MAX = 64
"""Cells open at a time, over all pages; the one opened first is forgotten."""

UNDOS_MAX = 100

ASKED_MAX = 100
"""Deleted rows whose history is read to find the commit that deleted them."""

ENTRY_CHARACTERS_MAX = 1 << 20
"""Of a text that is edited: what a document may hold."""

SHOWN_CHARACTERS_MAX = 80
"""Of a value that others wrote, in the message that says so."""

State = Literal["open", "done", "changed", "gone", "refused"]

_ANY = AnyValidator(is_optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an edit, as its page is told.

    Attributes:
        state: `open` with the `text` to edit, `done`, `changed` by others to `text`, `gone` with
            its document, `refused` for the reason in `problem`.
        field: which column, where the page did not name one.
        key: which row, likewise.
    """

    state: State
    text: str = ""
    problem: str | None = None
    key: str | None = None
    field: str | None = None

    def to_content(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "text": self.text,
            "problem": self.problem,
            "key": self.key,
            "field": self.field,
        }


@dataclass(slots=True)
class _Edit:
    """An open cell: `seen` is the value that its reader was shown, in a list, empty if absent."""

    key: str
    field: str
    seen: list[Value]


@dataclass(frozen=True, slots=True)
class _Done:
    """What an edit did: the field held `before`, and holds `after` if nobody has changed it."""

    key: str
    field: str
    before: list[Value]
    after: list[Value]


@dataclass(frozen=True, slots=True)
class _Written:
    """A commit that added or deleted rows; `what` says how many."""

    number: int
    what: str


class TableEditor:
    """Edits of one table of a workspace; any thread."""

    def __init__(self, backend: Backend, table: str) -> None:
        self._backend = backend
        self.table = table
        self._lock = threading.Lock()  # guards the three below; held for a moment
        self._edits: OrderedDict[str, _Edit] = OrderedDict()
        self._undos: list[_Done | _Written] = []
        self._redos: list[_Done | _Written] = []

    def open(self, edit: str, key: str, field: str) -> Outcome:
        """Begin an edit; `text` of the outcome is what to edit."""
        if field.startswith("_"):
            return _refused(f"{field} is livedb's own, and stays as it is.")
        document = self._document(key)
        if document is None:
            return Outcome(state="gone")
        if field not in document and field.endswith("__json"):
            return _refused(f"This column shows {field.removesuffix('__json')!r}; edit that.")
        seen = [document[field]] if field in document else []
        text = text_of_entry(seen[0] if seen else UNSET, self._validator(field))
        if len(text) > ENTRY_CHARACTERS_MAX:
            return _refused("This value is too large to be edited here.")
        with self._lock:
            self._edits[edit] = _Edit(key, field, seen)
            while len(self._edits) > EDITS_MAX:
                self._edits.popitem(last=False)
        return Outcome(state="open", text=text)

    def check(self, edit: str, text: str) -> Outcome:
        """Whether a text would do, while it is typed. Cost: no read."""
        found = self._edits.get(edit)
        if found is None:
            return _forgotten()
        try:
            self._value(found, text)
        except InvalidValueError as error:
            return _refused(error.message)
        return Outcome(state="open")

    def commit(self, edit: str, text: str | None, *, overwrites: bool = False) -> Outcome:
        """End an edit: the field becomes what the text says; None empties it.

        Args:
            overwrites: the reader has seen what others wrote meanwhile, and wants this.
        """
        found = self._edits.get(edit)
        if found is None:
            return _forgotten()
        try:
            wanted = self._value(found, text)
            outcome, before = self._amend(found.key, found.field, found.seen, wanted)
            if overwrites and outcome.state == "changed":
                outcome, before = self._amend(found.key, found.field, before, wanted)
        except LivedbError as error:
            return _refused(error.message)
        if outcome.state == "done":
            with self._lock:
                self._edits.pop(edit, None)
            self._remember(_Done(found.key, found.field, before, wanted))
        return outcome

    def _remember(self, done: _Done | _Written) -> None:
        with self._lock:
            self._undos.append(done)
            del self._undos[:-UNDOS_MAX]
            self._redos.clear()

    def judge(self, field: str, text: str) -> Outcome:
        """Whether a text would do in a field of a new document. Cost: no read."""
        try:
            value_of_entry(text, self._validator(field))
        except InvalidValueError as error:
            return _refused(error.message)
        return Outcome(state="open")

    def insert(self, texts: Mapping[str, str]) -> Outcome:
        """A new document of what was typed, by field; an empty text leaves its field out."""
        document: dict[str, Value] = {}
        for field, text in texts.items():
            try:
                if text != "":
                    document[field] = value_of_entry(text, self._validator(field))
            except InvalidValueError as error:
                return Outcome(state="refused", problem=f"{field}: {error.message}", field=field)
        try:
            key = self._run("insert", "insert", document=document)
        except LivedbError as error:
            return _refused(error.message)
        self._remember_commit([key], "1 added row")
        return Outcome(state="done", key=key)

    def delete(self, keys: Sequence[str]) -> Outcome:
        """Delete rows; `text` of the outcome is how many of them were there."""
        try:
            count = self._run("delete_all", "delete", document_ids=list(keys))
        except LivedbError as error:
            return _refused(error.message)
        if count:
            # Where some were gone already, the newest deletion of them all is this one.
            asked = keys[:1] if count == len(keys) else keys[:ASKED_MAX]
            self._remember_commit(asked, counted(count, "deleted row"))
        return Outcome(state="done", text=str(count))

    def _remember_commit(self, keys: Sequence[str], what: str) -> None:
        """The commit just made: the newest one that wrote to these rows."""
        with suppress(LivedbError):  # no past is kept: then there is no undo
            histories = [self._backend.history(self.table, key) for key in keys]
            newest = max(each["number"][-1].as_py() for each in histories if len(each))
            self._remember(_Written(newest, what))

    def cancel(self, edit: str) -> Outcome:
        """Forget an edit."""
        with self._lock:
            self._edits.pop(edit, None)
        return Outcome(state="done")

    def undo(self) -> Outcome:
        """Take back what was done here last, unless others have changed it since."""
        return self._turn(self._undos, self._redos, "Nothing was edited here.")

    def redo(self) -> Outcome:
        """Do again what was taken back last."""
        return self._turn(self._redos, self._undos, "Nothing was taken back.")

    def _turn(
        self, source: list[_Done | _Written], target: list[_Done | _Written], nothing: str
    ) -> Outcome:
        with self._lock:
            if not source:
                return _refused(nothing)
            done = source.pop()
        try:
            outcome, reverse = self._reverse(done)
        except LivedbError as error:
            return _refused(error.message)
        if outcome.state == "done":
            with self._lock:
                target.append(reverse)
        return outcome

    def _reverse(self, done: _Done | _Written) -> tuple[Outcome, _Done | _Written]:
        """Take back what was done; what that was, to be taken back in turn."""
        if isinstance(done, _Written):
            reverse = _Written(self._backend.undo(done.number), done.what)
            return Outcome(state="done", text=done.what), reverse
        outcome, _ = self._amend(done.key, done.field, done.after, done.before)
        shown = replace(outcome, key=done.key, field=done.field)
        return shown, _Done(done.key, done.field, done.after, done.before)

    def _value(self, edit: _Edit, text: str | None) -> list[Value]:
        validator = self._validator(edit.field)
        if text is None:
            cleared = cleared_entry(validator)
            return [] if isinstance(cleared, Missing) else [cleared]
        like = edit.seen[0] if edit.seen else UNSET
        return [value_of_entry(text, validator, like=like)]

    def _amend(
        self, key: str, field: str, seen: Sequence[Value], wanted: Sequence[Value]
    ) -> tuple[Outcome, list[Value]]:
        """Change the field; what stood there, or stands there now if others have changed it."""
        result = self._run(
            "amend", "edit", document_id=key, field=field, seen=list(seen), wanted=list(wanted)
        )
        state, found = result["state"], list(result["found"])
        if state == "done":
            return Outcome(state="done"), list(seen)
        if state == "gone":
            return Outcome(state="gone", problem="This row was deleted meanwhile."), found
        text = text_of_entry(found[0] if found else UNSET, self._validator(field))
        shown = repr(cut(text, SHOWN_CHARACTERS_MAX)) if text else "nothing"
        problem = f"Changed meanwhile to {shown}."
        return Outcome(state="changed", text=text, problem=problem), found

    def _document(self, key: str) -> Mapping[str, Value] | None:
        found: Mapping[str, Value] | None = self._run("get", "get", document_id=key)
        return found

    def _run(self, verb: str, shown: str, **arguments: Any) -> Any:
        function = table_function(verb, f"{self.table}:{shown}")
        return self._backend.run(function, {"table": self.table, **arguments})

    def _validator(self, field: str) -> Validator:
        entry = self._backend.known_catalog().get(self.table)
        fields: Mapping[str, Validator] = {} if entry is None else entry.definition.fields
        return fields.get(field, _ANY)


def _refused(problem: str) -> Outcome:
    return Outcome(state="refused", problem=problem)


def _forgotten() -> Outcome:
    return _refused("This edit is not known any more: open the cell again.")
