"""What is typed into a form becomes arguments by the validators of a call, or says why not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.errors import ArgumentValidationError
from livedb.ids import Id
from livedb.notebook.form_fields import draft_of, fields_of, read_drafts, tables_of
from livedb.schema.annotations import signature_validators
from livedb.schema.namespace import v
from livedb.values import UNSET, Int64, Missing

USERS = "users"


def signature_of(function):
    return signature_validators(function)


def everything(
    ctx: Any,
    title: str,
    count: int,
    share: float,
    big: Int64,
    done: bool,  # noqa: FBT001
    due: datetime | None,
    status: Literal["todo", "done"],
    user: Id[USERS],
    tags: list[str],
    either: int | str,
    anything: Any,
    note: str | Missing = UNSET,
    level: int = 3,
) -> None: ...


TYPED = {
    "title": "Ship it",
    "count": " 7 ",
    "share": "0.5",
    "big": "9007199254740993",
    "done": True,
    "due": "2026-11-27T10:00:00.000Z",
    "status": 1,
    "user": "",
    "tags": ["a", ""],
    "either": {"of": 1, "draft": "x"},
    "anything": '{"n": [1, 2.0]}',
    "note": "",
    "level": "",
}


def test_what_was_typed_is_read_as_the_types_of_the_arguments():
    values, errors = read_drafts(signature_of(everything), TYPED, tables=None)
    assert errors == {".user": "Choose one."}
    assert values == {
        "title": "Ship it",
        "count": 7,
        "share": 0.5,
        "big": Int64(9007199254740993),
        "done": True,
        "due": datetime(2026, 11, 27, 10, tzinfo=UTC),
        "status": "done",
        "tags": ["a", ""],
        "either": "x",
        "anything": {"n": [1, 2.0]},
    }
    assert isinstance(values["big"], Int64)


@pytest.mark.parametrize(
    "name, draft, message",
    [
        ("count", "7.5", "This is no whole number."),
        ("count", "", "This is needed."),
        ("count", "99999999999999999999", "99999999999999999999 is beyond"),
        ("share", "much", "This is no number."),
        ("due", "tomorrow", "This is no date and time."),
        ("status", None, "Choose one."),
        ("status", 9, "Choose one."),
        ("user", "nobody", "Expected an id of table `users`"),
        ("anything", "{", "This is no JSON of a value: "),
        ("title", "", "This is needed."),
        ("title", None, "This is needed."),
        ("title", 5, "Value does not match validator: expected a str"),
        ("either", {"of": 7}, "Choose a type."),
        ("either", {"of": 1, "draft": ""}, "This is needed."),
    ],
)
def test_what_does_not_fit_is_said_at_its_path(name, draft, message):
    _, errors = read_drafts(signature_of(everything), TYPED | {name: draft}, tables=None)
    assert errors[f".{name}"].startswith(message)


def test_a_text_that_need_not_be_given_may_be_empty():
    def noted(
        ctx: Any, note: str = "", aside: str | None = "x", end: str | Missing = UNSET
    ) -> None: ...

    drafts = {"note": "", "aside": "", "end": ""}
    assert read_drafts(signature_of(noted), drafts, tables=None) == (
        {"note": "", "aside": None},
        {},
    )


def test_what_is_left_alone_is_false_or_no_items_or_needed():
    values, errors = read_drafts(signature_of(everything), {}, tables=None)
    assert values == {"done": False, "due": None, "tags": []}
    assert errors[".title"] == errors[".count"] == "This is needed."


def test_lists_and_objects_say_which_of_them_is_wrong():
    def nested(ctx: Any, rows: list[dict[str, int]], where: dict[str, Any]) -> None: ...

    signature = signature_of(nested)
    object_of = v.object({"rows": v.array(v.object({"n": v.integer(), "a b": v.integer()}))})
    signature = type(signature)(**{**vars(signature), "args": object_of})
    drafts = {"rows": [{"n": "1", "a b": "2"}, {"n": "x", "a b": ""}]}
    values, errors = read_drafts(signature, drafts, tables=None)
    assert errors == {
        ".rows[1].n": "This is no whole number.",
        ".rows[1]['a b']": "This is needed.",
    }
    assert values["rows"][0] == {"n": 1, "a b": 2}


def test_a_cleared_field_that_may_be_null_is_null_and_not_its_default_again():
    def lately(ctx: Any, due: datetime | None = datetime(2026, 1, 1, tzinfo=UTC)) -> None: ...

    assert read_drafts(signature_of(lately), {"due": ""}, tables=None)[0] == {"due": None}


def test_fields_say_what_a_page_draws():
    fields = {each["name"]: each for each in fields_of(signature_of(everything))}
    kinds = {name: each["kind"] for name, each in fields.items()}
    assert kinds == {
        "title": "text", "count": "integer", "share": "number", "big": "integer",
        "done": "checkbox", "due": "datetime", "status": "choice", "user": "id", "tags": "list",
        "either": "variant", "anything": "json", "note": "text", "level": "integer",
    }  # fmt: skip
    assert fields["status"]["options"] == ["todo", "done"]
    assert (fields["title"]["long"], fields["note"]["long"]) == (False, True)
    assert (fields["due"]["nullable"], fields["note"]["optional"]) == (True, True)
    assert tables_of(signature_of(everything)) == {"users"}


VALUES = [
    (v.string(), st.text(min_size=1)),
    (v.integer(), st.integers(-(2**53), 2**53)),
    (v.number(), st.floats(allow_nan=False)),
    (v.int64(), st.integers(-(2**63), 2**63 - 1).map(Int64)),
    (v.boolean(), st.booleans()),
    (v.union(v.boolean(), v.null()), st.sampled_from([True, False, None])),
    (v.union(v.literal("a"), v.literal(2), v.null()), st.sampled_from(["a", 2, None])),
    (v.datetime(), st.datetimes(timezones=st.just(UTC))),
    (v.bytes(), st.binary()),
    (v.array(v.array(v.integer())), st.lists(st.lists(st.integers(0, 9)))),
    (v.union(v.integer(), v.string()), st.integers(0, 9) | st.text(min_size=1)),
    (v.record(v.string(), v.integer()), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))),
]


@given(st.sampled_from(VALUES).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])))
def test_a_value_shown_in_a_field_is_read_back_as_it_was(case):
    validator, value = case
    signature = signature_of(everything)
    signature = type(signature)(**{**vars(signature), "args": v.object({"x": validator})})
    values, errors = read_drafts(signature, {"x": draft_of(validator, value)}, tables=None)
    assert errors == {}
    assert values == {"x": value}
    assert type(values["x"]) is type(value)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["of", "draft", "n"]), inner),
)


@given(st.dictionaries(st.sampled_from(sorted(TYPED)), JSONS))
def test_whatever_a_page_sends_is_read_or_refused_and_what_is_read_fits_a_call(drafts):
    signature = signature_of(everything)
    values, errors = read_drafts(signature, drafts, tables=None)
    if errors:
        return
    try:
        signature.check_arguments(values)
    except ArgumentValidationError as error:  # pragma: no cover - what must not happen
        raise AssertionError(values) from error
