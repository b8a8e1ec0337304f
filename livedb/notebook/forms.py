"""A form that calls a mutation or an action, as an anywidget.

The page draws fields and keeps what is typed (`widgets/src/view/form.ts`); everything that needs to
know a type or a document is asked here: whether what is typed fits, which documents an id may mean,
and the call itself, which runs on a thread of its own, so that neither the kernel nor a cell waits
for it. A call is made once for each submission that a page names, however often it is asked for.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from livedb.client.functions import Action, Mutation, Query
from livedb.clock import SystemClock
from livedb.errors import (
    ArgumentValidationError,
    FunctionTypeError,
    LimitError,
    LivedbError,
    ValidationError,
)
from livedb.notebook.cells import cut, visible
from livedb.notebook.display import framed_rows
from livedb.notebook.followers import kernel_loop
from livedb.notebook.form_fields import draft_of, fields_of, first_line, read_drafts, tables_of
from livedb.notebook.hosts import draws_only_widget_views
from livedb.notebook.page_widget import PageWidget
from livedb.notebook.picking import pick
from livedb.values import Missing, Value, path_step

SUBMISSIONS_MAX = 64
"""Submissions whose outcome is remembered; the oldest is forgotten first."""

UNDER_WAY_MAX = 8
"""Calls of one form that run at once, from several pages; another one is refused."""

RESULT_CHARACTERS_MAX = 200
"""Characters of a result that are shown under the form."""

_CLOCK = SystemClock()

logger = logging.getLogger("livedb")


class Form(PageWidget):
    """The arguments of a mutation or an action as fields, and a button that calls it.

    Attributes:
        result: what the last call gave; observe it to go on from there.
        error: what the last call raised, None when it succeeded.
        submissions: how many calls have ended.
    """

    description = traitlets.Dict().tag(sync=True, echo_update=False)
    """What a page draws: `Description` in `widgets/src/model/form.ts`."""

    result = traitlets.Any(read_only=True)
    error = traitlets.Any(read_only=True)
    submissions = traitlets.Int(read_only=True)

    def __init__(
        self,
        function: Mutation[..., Any] | Action[..., Any] | Query[..., Any],
        *,
        preset: Mapping[str, Any] | None = None,
        on_submit: Callable[[Any], object] | None = None,
    ) -> None:
        self._function = function
        self._preset = self._checked_preset(preset)
        if on_submit is not None and not callable(on_submit):
            raise FunctionTypeError(
                f"on_submit is called with each result, and a {type(on_submit).__name__} cannot be"
            )
        self._on_submit = on_submit
        self._outcomes: OrderedDict[str, dict[str, Any] | None] = OrderedDict()
        self._lock = threading.Lock()  # guards `_outcomes`; nothing is called under it
        super().__init__("form", address=_CLOCK.random_bytes(8).hex(), description=self._describe())
        self.on_msg(self._receive)

    @property
    def title(self) -> str:
        """What it calls."""
        return self._function.name

    def _checked_preset(self, preset: Any) -> dict[str, Value | Missing]:
        """What is preset, by wire name, as a call would take it."""
        if not isinstance(preset, Mapping | None):
            raise FunctionTypeError(
                f"preset is a dict by argument, such as {{'title': 'x'}}, not a "
                f"{type(preset).__name__}"
            )
        signature = self._function.definition.signature
        fields = signature.args.fields
        found: dict[str, Value | Missing] = {}
        for name, value in (preset or {}).items():
            wire = signature.wire_names.get(name, name)
            if wire not in fields:
                raise FunctionTypeError(
                    f"{self.title} has no argument {name!r} to preset; it has "
                    f"{', '.join(fields) or 'none'}"
                )
            found[wire] = value if isinstance(value, Missing) else self._checked(wire, value)
        return found

    def _checked(self, wire_name: str, value: Value) -> Value:
        of = self._function.definition.signature.args.fields[wire_name].required()
        try:
            return of.check(value, path_step(wire_name), tables=self._catalog())
        except ValidationError as error:
            raise ArgumentValidationError(
                f"preset of {self.title}: {error.message}", path=error.path, kind=error.kind
            ) from None

    def _describe(self) -> dict[str, Any]:
        definition = self._function.definition
        signature = definition.signature
        known = {wire: signature.defaults[name] for name, wire in signature.wire_names.items()
                 if name in signature.defaults}  # fmt: skip
        fields = signature.args.fields
        # A function that was defined anew may have less to preset.
        known |= {wire: value for wire, value in self._preset.items() if wire in fields}
        summary = (self._function.__doc__ or "").strip().partition("\n")[0]
        return {
            "name": self.title,
            "summary": cut(summary, 300),
            "version": definition.version,
            "fields": fields_of(signature),
            "drafts": {
                name: draft_of(fields[name], value)
                for name, value in known.items()
                if not isinstance(value, Missing)
            },
        }

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What it asks for, as HTML that a page with a kernel replaces by the form, and as text."""
        bundle = super()._repr_mimebundle_(**kwargs) if draws_only_widget_views() else None
        data, metadata = bundle or ({}, {})
        lines = [(each["name"], each["type"]) for each in self.description["fields"]]
        data["text/plain"] = f"<form of {self.title}>"
        data["text/html"] = framed_rows(
            self.title, ("argument", "type"), lines, ["a form, without its kernel"], self.address
        )
        return data, metadata

    def __repr__(self) -> str:
        return f"<form of {self.title}>"

    # -- what pages send -----------------------------------------------------------------------

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Answer a message of a page; what it sends wrongly fails only itself."""
        try:
            answer = self._answer(content)
        except Exception as error:
            logger.exception("livedb: a page's message to a form failed")
            answer = {"kind": "failed", "message": first_line(str(error))}
        if isinstance(content, dict) and answer is not None:
            self.send({"id": content.get("id")} | answer)

    def _answer(self, content: dict[str, Any]) -> dict[str, Any] | None:
        match content["kind"]:
            case "check":
                self._follow_definition()
                return {"kind": "checked", "errors": self._read(content["drafts"])[1]}
            case "pick":
                return self._pick(str(content["table"]), str(content["text"]))
            case "submit":
                return self._submit(str(content["id"]), content["drafts"])
            case kind:
                raise ValueError(f"a form knows no message of kind {kind!r}")

    def _follow_definition(self) -> None:
        """Describe the function anew when a cell has defined it anew."""
        if self._function.definition.version != self.description["version"]:
            self.description = self._describe()

    def _read(self, drafts: Any) -> tuple[dict[str, Value], dict[str, str]]:
        signature = self._function.definition.signature
        return read_drafts(signature, drafts, tables=self._catalog())

    def _catalog(self) -> Any:
        return self._function.database.backend.known_catalog()

    def _pick(self, table: str, text: str) -> dict[str, Any]:
        if table not in tables_of(self._function.definition.signature):
            raise ValueError(f"{self.title} takes no id of table {table!r}")
        found = pick(self._function.database.backend, table, text)
        return {"kind": "picked", "found": found.rows, "more": found.is_cut}

    # -- the call ------------------------------------------------------------------------------

    def _submit(self, submission: str, drafts: Any) -> dict[str, Any] | None:
        with self._lock:
            if submission in self._outcomes:
                return self._outcomes[submission] or {"kind": "begun"}
            if sum(outcome is None for outcome in self._outcomes.values()) >= UNDER_WAY_MAX:
                raise LimitError(f"{UNDER_WAY_MAX} calls of this form are under way; wait for one")
            self._outcomes[submission] = None
            while len(self._outcomes) > SUBMISSIONS_MAX:
                self._outcomes.popitem(last=False)
        values, errors = self._read(drafts)
        if errors:
            return self._end(submission, {"kind": "checked", "errors": errors})
        self.send({"id": submission, "kind": "begun"})  # before the end, which may come at once
        threading.Thread(
            target=self._run, args=(submission, values), name="livedb-form", daemon=True
        ).start()
        return None

    def _run(self, submission: str, values: dict[str, Value]) -> None:
        wire_names = self._function.definition.signature.wire_names
        python = {wire: name for name, wire in wire_names.items()}
        try:
            result = self._call({python.get(name, name): each for name, each in values.items()})
        except Exception as error:  # noqa: BLE001  # the function's: it is shown, and kept
            self._tell(None, error)
            outcome = {"kind": "refused"} | _of_error(error)
        else:
            self._tell(result, None)
            outcome = {"kind": "done"} | self._shown(result)
        self.send({"id": submission} | self._end(submission, outcome))

    def _call(self, arguments: dict[str, Value]) -> Any:
        return self._function(**arguments)

    def _shown(self, result: Any) -> dict[str, str]:
        """What the page shows of a result."""
        return {"text": _result_text(result)}

    def _end(self, submission: str, outcome: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if submission in self._outcomes:
                self._outcomes[submission] = outcome
        return outcome

    def _tell(self, result: Any, error: Exception | None) -> None:
        """Set the traits, and call `on_submit`, on the kernel's loop where there is one."""

        def tell() -> None:
            self.set_trait("error", error)
            if error is None:
                self.set_trait("result", result)
            self.set_trait("submissions", self.submissions + 1)
            if error is None and self._on_submit is not None:
                self._on_submit(result)

        loop = kernel_loop()
        if loop is not None:
            loop.call_soon_threadsafe(tell)
            return
        try:
            tell()
        except Exception:  # the user's; the call has succeeded all the same
            logger.exception("what follows a form failed")


class QueryForm(Form):
    """The arguments of a query as fields, and its live result under them.

    Attributes:
        result: the handle of the last call; the form closes it for the next one and with itself.
    """

    def _call(self, arguments: dict[str, Value]) -> Any:
        handle = self._function.live(**arguments)  # type: ignore[union-attr]  # it is a query
        self._close_result()
        return handle

    def _shown(self, result: Any) -> dict[str, str]:
        return {"text": result.title, "address": result.widget.address}

    def _close_result(self) -> None:
        if self.result is not None:
            self.result.close()

    def close(self) -> None:
        """End the form and its result on every page."""
        self._close_result()
        super().close()


def _of_error(error: Exception) -> dict[str, Any]:
    code = error.code if isinstance(error, LivedbError) else type(error).__name__
    path = error.path if isinstance(error, ValidationError) else ""
    message = first_line(str(error)) or code
    return {"code": code, "path": path, "message": cut(visible(message), 1_000)}


def _result_text(result: Any) -> str:
    if result is None:
        return ""
    return cut(visible(result if isinstance(result, str) else repr(result)), RESULT_CHARACTERS_MAX)
