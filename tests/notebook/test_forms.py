"""A form without a browser: messages as a page sends them, on every backend."""

from __future__ import annotations

import threading
from typing import Literal

import pytest

from livedb import ApplicationError
from livedb.errors import ArgumentValidationError, FunctionTypeError
from livedb.ids import Id
from livedb.notebook.forms import UNDER_WAY_MAX
from tests.waiting import until


class Comm:
    """An open comm that keeps the custom messages sent."""

    comm_id, kernel = "comm", "kernel"

    def __init__(self) -> None:
        self.messages = []

    def on_msg(self, callback):
        self.receive = callback

    def send(self, data, metadata=None, buffers=None):
        if data["method"] == "custom":
            self.messages.append(data["content"])

    def close(self, *args, **kwargs): ...


class Page:
    """Sends messages to a form and waits for what comes back."""

    def __init__(self, form) -> None:
        self.form = form

    def ask(self, **content):
        self.form._receive(self.form, {"id": "1", **content}, [])
        return self.answers(content.get("id", "1"))[-1]

    def answers(self, asked):
        return [each for each in self.form.comm.messages if each["id"] == asked]

    def submit(self, asked, drafts):
        self.ask(kind="submit", id=asked, drafts=drafts)
        until(lambda: self.answers(asked)[-1]["kind"] != "begun")
        return self.answers(asked)[-1]


@pytest.fixture(autouse=True)
def comm(monkeypatch):
    monkeypatch.setattr("comm.create_comm", lambda **_: Comm())


@pytest.fixture
def people(db):
    @db.table("users")
    class User:
        name: str

    @db.table("tasks")
    class Task:
        title: str
        user: Id[User]

    @db.mutation
    def add_task(ctx, title: str, user: Id[User], count: int = 1) -> Id[Task]:
        """Add a task for somebody."""
        if title == "no":
            raise ApplicationError("not that one")
        return ctx.db.insert(Task, {"title": title, "user": user})

    db.add_task = add_task
    db.ann = db["users"].insert({"name": "Ann"})
    return db


def test_a_form_calls_its_mutation_and_keeps_what_it_gave(people):
    seen = []
    form = people.add_task.form(preset={"user": people.ann}, on_submit=seen.append)
    assert form.description["drafts"]["user"] == people.ann
    answer = Page(form).submit("a", {"title": "Ship it", "user": people.ann, "count": "2"})
    assert answer["kind"] == "done"
    until(lambda: form.submissions == 1)
    assert [form.result] == seen == [people["tasks"].first()["_id"]]
    assert (form.error, answer["text"]) == (None, form.result)


def test_what_is_typed_is_checked_without_a_call(people):
    page = Page(people.add_task.form())
    answer = page.ask(kind="check", drafts={"title": "x", "user": people.ann[:-1], "count": "y"})
    assert set(answer["errors"]) == {".user", ".count"}
    refused = page.submit("a", {"title": "x", "user": "", "count": ""})
    assert refused["errors"] == {".user": "Choose one."}
    assert people["tasks"].count() == 0


def test_one_submission_is_one_call_however_often_it_comes(people):
    page = Page(people.add_task.form())
    drafts = {"title": "once", "user": people.ann}
    first = page.submit("same", drafts)
    assert page.submit("same", drafts) == first
    assert people["tasks"].count() == 1


def test_an_error_of_the_function_is_shown_with_its_code(people):
    form = people.add_task.form()
    answer = Page(form).submit("a", {"title": "no", "user": people.ann})
    assert (answer["kind"], answer["code"]) == ("refused", "ApplicationError")
    assert "not that one" in answer["message"]
    until(lambda: form.submissions == 1)
    assert isinstance(form.error, ApplicationError)


def test_a_document_is_found_by_its_name_or_its_id(people):
    people["users"].insert([{"name": "Bob"}, {"name": "Joanna <b>"}])
    page = Page(people.add_task.form())
    found = page.ask(kind="pick", table="users", text="AN")["found"]
    assert [label for _, label in found] == ["Ann", "Joanna <b>"]
    assert page.ask(kind="pick", table="users", text=people.ann)["found"] == [(people.ann, "Ann")]
    people["users"].insert([{"name": f"n{at:03}"} for at in range(30)])
    answer = page.ask(kind="pick", table="users", text="n0")
    assert (len(answer["found"]), answer["more"]) == (20, True)


def test_a_page_finds_only_documents_of_the_arguments_tables(people, caplog):
    answer = Page(people.add_task.form()).ask(kind="pick", table="tasks", text="")
    assert (answer["kind"], "takes no id" in answer["message"]) == ("failed", True)
    assert "message to a form failed" in caplog.text


def test_a_function_that_is_defined_anew_is_described_anew(people):
    form = people.add_task.form()

    @people.mutation
    def add_task(ctx, title: str) -> None:
        return None

    assert Page(form).ask(kind="check", drafts={"title": "x"})["errors"] == {}
    assert [each["name"] for each in form.description["fields"]] == ["title"]
    assert Page(form).submit("a", {"title": "x"})["kind"] == "done"


def test_an_action_has_a_form_too(people):
    @people.action
    def shout(ctx, text: str) -> str:
        return text.upper()

    assert Page(shout.form()).submit("a", {"text": "hi"})["text"] == "HI"


def test_a_preset_of_no_argument_is_refused(people):
    with pytest.raises(FunctionTypeError, match="no argument 'titel'"):
        people.add_task.form(preset={"titel": "x"})


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"preset": {"title": 3}}, ArgumentValidationError, "preset of add_task: .*a str"),
        ({"preset": {"user": "nobody"}}, ArgumentValidationError, "id of table"),
        ({"preset": [1]}, FunctionTypeError, "preset is a dict by argument.*not a list"),
        ({"on_submit": 3}, FunctionTypeError, "on_submit is called with each result"),
    ],
)
def test_what_a_form_cannot_begin_with_is_refused_at_once(people, arguments, error, message):
    with pytest.raises(error, match=message):
        people.add_task.form(**arguments)


def test_a_preset_that_is_no_choice_is_refused_at_once(people):
    @people.mutation
    def file(ctx, kind: Literal["bug", "idea"]) -> None: ...

    with pytest.raises(ArgumentValidationError, match="'zzz'"):
        file.form(preset={"kind": "zzz"})
    assert file.form(preset={"kind": "idea"}).description["drafts"] == {"kind": 1}


def test_a_form_that_nobody_filled_in_makes_no_call(people):
    answer = Page(people.add_task.form(preset={"user": people.ann})).submit(
        "a", {"title": "", "user": people.ann, "count": "1"}
    )
    assert answer == {"id": "a", "kind": "checked", "errors": {".title": "This is needed."}}
    assert people["tasks"].count() == 0


@pytest.mark.local("its function waits for an event of the test")
def test_calls_that_wait_hold_up_nobody_and_are_bounded(memory):
    gate = threading.Event()

    @memory.action
    def slow(ctx) -> None:
        gate.wait(30)

    page = Page(slow.form())
    for at in range(UNDER_WAY_MAX):
        assert page.ask(kind="submit", id=str(at), drafts={})["kind"] == "begun"
    assert "under way" in page.ask(kind="submit", id="more", drafts={})["message"]
    gate.set()
    until(lambda: all(page.answers(str(at))[-1]["kind"] == "done" for at in range(UNDER_WAY_MAX)))


def test_a_stored_form_is_escaped_html(people):
    bundle, _ = people.add_task.form(preset={"title": "<script>"})._repr_mimebundle_()
    assert "<script>" not in bundle["text/html"]
    assert "Id[users]" in bundle["text/html"]
    assert bundle["text/plain"] == "<form of add_task>"
