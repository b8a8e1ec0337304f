"""Annotated classes as tables, annotated functions as signatures."""

# ruff: noqa: F821, UP007, UP037, UP045 - every way to write an annotation is read

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    Union,
)

import pytest

from livedb.clock import SystemClock
from livedb.errors import ArgumentValidationError, ReturnsValidationError, SchemaDefinitionError
from livedb.ids import Id, IdFactory
from livedb.schema.annotations import signature_validators, table_from_class
from livedb.schema.check import check_document
from livedb.schema.namespace import v
from livedb.values import UNSET, Document, Int64, Missing

Email = NewType("Email", str)


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class User:
    name: str


table_from_class(User, name="users")


class Address:
    street: str
    country: str = "NL"


@dataclasses.dataclass
class Line:
    product: str
    amount: int = 1
    tags: list[str] = dataclasses.field(default_factory=list)


class Options(TypedDict, total=False):
    color: str
    size: Required[int]


class Meta(TypedDict):
    source: str
    row: NotRequired[int | None]


Awkward = TypedDict("Awkward", {"Unit price": float, "class": "Id[User]"})


class Everything:
    """All that may be written, in one class."""

    counter: ClassVar[int] = 0
    string: str
    integer: int
    number: float
    boolean: bool
    blob: bytes
    moment: datetime
    nothing: None
    anything: Any
    thing: object
    big: Int64
    items: list
    typed_items: list[int]
    sequence: Sequence[str]
    pair: tuple[float, ...]
    mapping: dict
    typed_mapping: dict[str, int]
    by_user: Mapping[Id[User], float]
    choice: Literal["a", 1, True, None]  # noqa: PYI061 - it may be written so
    old_union: Union[str, int]
    old_optional: Optional[str]
    new_union: str | int | None
    level: Level
    email: Email
    final: Final[str]
    user: Id[User]
    named: Id["users"]
    forward: Id["User"]
    itself: Id[Everything] | None
    quoted: "Id[Everything] | None"
    address: Address
    lines: list[Line]
    options: Options
    meta: Meta | None
    awkward: Awkward
    described: Annotated[str, "a comment", 3]
    explicit: v.string()
    note: str | Missing
    hint: Missing | str | None = UNSET


def test_every_annotation_becomes_its_validator():
    made = table_from_class(Everything, name="everything")
    line = v.object({"product": v.string(), "amount": v.integer(), "tags": v.array(v.string())})
    itself = v.nullable(v.id("everything"))
    expected = {
        "string": v.string(),
        "integer": v.integer(),
        "number": v.number(),
        "boolean": v.boolean(),
        "blob": v.bytes(),
        "moment": v.datetime(),
        "nothing": v.null(),
        "anything": v.any(),
        "thing": v.any(),
        "big": v.int64(),
        "items": v.array(v.any()),
        "typed_items": v.array(v.integer()),
        "sequence": v.array(v.string()),
        "pair": v.array(v.number()),
        "mapping": v.record(v.string(), v.any()),
        "typed_mapping": v.record(v.string(), v.integer()),
        "by_user": v.record(v.id("users"), v.number()),
        "choice": v.union(v.literal("a"), v.literal(1), v.literal(True), v.null()),
        "old_union": v.union(v.string(), v.integer()),
        "old_optional": v.nullable(v.string()),
        "new_union": v.union(v.string(), v.integer(), v.null()),
        "level": v.union(v.literal("low"), v.literal("high")),
        "email": v.string(),
        "final": v.string(),
        "user": v.id("users"),
        "named": v.id("users"),
        "forward": v.id("users"),
        "itself": itself,
        "quoted": itself,
        "address": v.object({"street": v.string(), "country": v.string()}),
        "lines": v.array(line),
        "options": v.object({"color": v.optional(v.string()), "size": v.integer()}),
        "meta": v.nullable(
            v.object({"source": v.string(), "row": v.optional(v.nullable(v.integer()))})
        ),
        "awkward": v.object({"Unit price": v.number(), "class": v.id("users")}),
        "described": v.string(),
        "explicit": v.string(),
        "note": v.optional(v.string()),
        "hint": v.optional(v.nullable(v.string())),
    }
    assert made.document.fields == expected
    assert made.defaults == {
        "address.country": "NL",
        "lines[].amount": 1,
        "lines[].tags": [],
    }
    assert Everything.__livedb_table__ == "everything"
    assert Everything.__livedb_definition__ is made


def test_defaults_are_converted_and_filled_in():
    class Task:
        title: str
        done: bool = False
        weight: float = 1
        due: datetime | None = None
        level: Level = Level.LOW
        tags: list[str] = []  # noqa: RUF012 - the case under test
        home: Address | None = None

    made = table_from_class(Task, name="tasks", namespace=locals())
    assert type(made.defaults["weight"]) is float
    assert check_document(made, {"title": "x", "home": {"street": "s"}}) == {
        "title": "x",
        "home": {"street": "s", "country": "NL"},
        "done": False,
        "weight": 1.0,
        "due": None,
        "level": "low",
        "tags": [],
    }


def test_a_default_is_filled_with_the_defaults_of_the_classes_in_it():
    class Part:
        name: str
        unit: str = "kg"

    class Order:
        home: Address | None = {"street": "s"}  # noqa: RUF012 - the case under test
        lines: list[Part] = [{"name": "a"}, {"name": "b", "unit": "g"}]  # noqa: RUF012

    made = table_from_class(Order, name="orders", namespace=locals())
    assert check_document(made, {}) == {
        "home": {"street": "s", "country": "NL"},
        "lines": [{"name": "a", "unit": "kg"}, {"name": "b", "unit": "g"}],
    }

    class Broken:
        home: Address = {"country": "NL"}  # noqa: RUF012 - the case under test

    with pytest.raises(SchemaDefinitionError, match="does not fit"):
        table_from_class(Broken, name="broken")


def test_bases_come_first_and_a_subclass_is_no_table_by_itself():
    class Animal:
        name: str
        legs: int = 4

    class Bird(Animal):
        legs: int = 2
        wings: int = 2

    table_from_class(Animal, name="animals")
    made = table_from_class(Bird, name="birds")
    assert list(made.fields) == ["name", "legs", "wings"]
    assert made.defaults == {"legs": 2, "wings": 2}

    class Fish(Animal):
        pass

    def fish(ctx) -> Fish: ...

    assert signature_validators(fish, namespace=locals()).returns == v.object(
        {"name": v.string(), "legs": v.integer()}
    )


def test_a_class_made_where_there_is_no_name_keeps_its_fields():
    """Such as by `exec` with names of its own: Python calls its module "builtins"."""
    names = {}
    exec("class Note:\n    text: str", names)
    assert names["Note"].__module__ == "builtins"
    assert list(table_from_class(names["Note"], name="notes").fields) == ["text"]


def test_slots_dataclasses_and_indexes():
    @dataclasses.dataclass(slots=True, kw_only=True)
    class Point:
        x: float
        _: dataclasses.KW_ONLY
        y: float = 2
        label: str | Missing = UNSET

    made = table_from_class(
        Point, name="points", indexes={"by_x": ["x"]}, unique={"by_label": ["label"]}
    )
    assert list(made.fields) == ["x", "y", "label"]
    assert made.defaults == {"y": 2.0}
    assert made.index("by_label").is_unique
    assert not made.index("by_x").is_unique


def refused(annotation, default=dataclasses.MISSING, **names):
    body = {"__annotations__": {"field": annotation}, "__module__": __name__}
    if default is not dataclasses.MISSING:
        body["field"] = default
    with pytest.raises(SchemaDefinitionError) as caught:
        table_from_class(type("Broken", (), body), name="broken", namespace=names)
    assert "class Broken, field 'field'" in caught.value.message
    return caught.value.message


class Loop:
    inner: "Loop | None"


class Pair(NamedTuple):
    a: int


@pytest.mark.parametrize(
    "annotation,text",
    [
        ("Nowhere", "uses 'Nowhere', which is not defined"),
        ("Id[Nowhere]", 'write Id["table"]'),
        ("1 +", "cannot be evaluated"),
        (date, "use datetime"),
        (set, "use list"),
        (set[str], "use list"),
        (tuple[int, str], "use list"),
        (Id, 'write Id[User] or Id["users"]'),
        (Id[Address], "decorate the class"),
        (Missing, "write `... | Missing`"),
        (list[str | Missing], "Missing says that a field may be absent"),
        (dict[int, str], "keys of v.record"),
        (3, "cannot be stored"),
        (type, "annotated fields"),
        (Exception, "annotated fields"),
        (Loop, "contains itself"),
        (Pair, "NamedTuple"),
        (Literal[b"x"], "v.literal takes"),
    ],
    ids=str,
)
def test_an_annotation_that_cannot_be_stored_is_refused_where_it_stands(annotation, text):
    if annotation == dict[int, str]:
        with pytest.raises(SchemaDefinitionError, match=text):
            table_from_class(
                type("Broken", (), {"__annotations__": {"field": annotation}}), name="broken"
            )
        return
    assert text in refused(annotation)


@pytest.mark.parametrize(
    "annotation,default",
    [(str, 3), (int, 1.5), (str, None), (Literal["a"], "b"), (datetime, datetime(2026, 1, 1))],
)
def test_a_default_that_does_not_fit_is_refused(annotation, default):
    assert "its default does not fit" in refused(annotation, default)


def test_a_default_made_when_a_document_is_made_is_refused():
    default = dataclasses.field(default_factory=lambda: datetime.now(UTC))
    assert "default_factory" in refused(datetime, default)


def test_a_class_that_was_refused_is_not_marked():
    class Task:
        title: set[str]

    with pytest.raises(SchemaDefinitionError):
        table_from_class(Task, name="tasks")
    assert not hasattr(Task, "__livedb_table__")


# -- functions -------------------------------------------------------------------------------------


def test_a_signature_has_args_returns_and_wire_names():
    def search(
        ctx, text, from_: int, *, user: Id[User], limit: int = 50, **rest: float
    ) -> bool: ...

    made = signature_validators(search)
    assert made.args == v.object(
        {
            "text": v.any(),
            "from": v.integer(),
            "user": v.id("users"),
            "limit": v.optional(v.integer()),
        }
    )
    assert made.returns == v.boolean()
    assert made.extra == v.number()
    assert made.has_kwargs
    assert made.wire_names["from_"] == "from"
    assert made.defaults == {"limit": 50}
    assert made.args_json() == {"type": "any"}
    assert made.returns_json() == {"type": "boolean"}


def test_a_call_goes_to_wire_names_and_back():
    def search(ctx, text, from_: float, note: str | Missing, *, last: int = 3, **rest: float): ...

    made = signature_validators(search)
    arguments = made.arguments(("x", 1), {"last": UNSET, "more": 2})
    assert arguments == {"text": "x", "from": 1, "more": 2}
    checked = made.check_arguments(arguments)
    assert type(checked["from"]) is type(checked["more"]) is float
    assert made.python_arguments(checked) == {
        "text": "x",
        "from_": 1.0,
        "more": 2.0,
        "note": UNSET,
    }
    assert made.arguments((), {"from": 1}) == {"from": 1}
    with pytest.raises(TypeError, match="takes 3 positional"):
        made.arguments((1, 2, 3, 4), {})
    with pytest.raises(TypeError, match="multiple values for argument 'text'"):
        made.arguments((1,), {"text": 2})


def test_a_refused_argument_is_named_with_its_near_miss():
    def open_tasks(ctx, user: Id[User]): ...

    made = signature_validators(open_tasks)
    with pytest.raises(ArgumentValidationError) as caught:
        made.check_arguments({"usr": "x"})
    assert caught.value.message.startswith("open_tasks: ")
    assert "It has `usr`; did you mean `user`?" in caught.value.message

    def keyed(ctx, **rest: int): ...

    with pytest.raises(ArgumentValidationError) as caught:
        signature_validators(keyed).check_arguments({"a b": "x"})
    assert caught.value.path == "['a b']"


def test_wire_arguments_are_converted():
    def at(ctx, when: datetime, n: int): ...

    checked = signature_validators(at).check_arguments({"when": 0.0, "n": 3.0}, from_wire=True)
    assert checked == {"when": datetime(1970, 1, 1, tzinfo=UTC), "n": 3}
    assert type(checked["n"]) is int


def test_a_document_class_in_a_signature_is_a_whole_document():
    def users(ctx) -> list[User]: ...

    made = signature_validators(users)
    user = Document(_id=IdFactory(SystemClock()).new(10_001), _creationTime=1.5, name="x")
    assert made.check_result([user]) == [dict(user)]
    with pytest.raises(ReturnsValidationError) as caught:
        made.check_result([{"name": "x"}])
    assert caught.value.path == "[0]"
    assert caught.value.message.startswith("users: its result does not match")


def test_a_function_without_annotations_takes_and_gives_anything():
    made = signature_validators(lambda ctx, a, b=1: a)
    assert made.args == v.object({"a": v.any(), "b": v.optional(v.any())})
    assert made.returns is None
    assert made.returns_json() is None
    assert made.check_result(object) is object


def test_a_hint_may_name_what_is_local_to_the_caller():
    class Local:
        x: int

    table_from_class(Local, name="locals")

    def get(ctx, key: Id[Local]) -> Local: ...

    made = signature_validators(get, namespace=locals())
    assert made.args.fields["key"] == v.id("locals")


def test_a_name_may_be_given_by_alias():
    def page(ctx, options: dict, x_: int): ...

    made = signature_validators(page, alias={"options": "paginationOpts", "x_": "x_"})
    assert list(made.args.fields) == ["paginationOpts", "x_"]
    with pytest.raises(SchemaDefinitionError, match="alias names zz"):
        signature_validators(page, alias={"zz": "a"})


def test_an_action_is_read_like_any_function():
    async def fetch(ctx, url: str) -> str | None: ...

    assert signature_validators(fetch).returns == v.nullable(v.string())


@pytest.mark.parametrize(
    "function",
    [
        lambda: None,
        lambda *args: None,
        lambda ctx, *args: None,
        lambda ctx, a, /, b: None,
        lambda *, ctx: None,
        lambda ctx, from_, **from__: None,
    ][:5],
)
def test_parameters_no_caller_could_fill_are_refused(function):
    with pytest.raises(SchemaDefinitionError):
        signature_validators(function)


def test_two_parameters_of_one_wire_name_are_refused():
    def clash(ctx, x, x_): ...

    with pytest.raises(SchemaDefinitionError, match="called 'x' on the wire"):
        signature_validators(clash)

    def missing(ctx) -> str | Missing: ...

    with pytest.raises(SchemaDefinitionError, match="always there"):
        signature_validators(missing)


def test_a_function_without_context_keeps_its_first_parameter():
    made = signature_validators(lambda a: a, skip_first=False)
    assert list(made.args.fields) == ["a"]
