"""Errors that travel: the class that was raised, with what its users read."""

from __future__ import annotations

import pytest

from livedb import errors
from livedb.errors import (
    ApplicationError,
    ArgumentValidationError,
    ConflictError,
    RemoteError,
    SchemaChangeError,
    UniqueError,
)
from livedb.protocol.codecs import PACK
from livedb.protocol.errors import error_from, error_value


def travelled(error):
    return error_from(PACK.read(PACK.write(error_value(error))))


@pytest.mark.parametrize(
    "error",
    [
        ArgumentValidationError("no", path=".a", kind="ExtraField"),
        UniqueError("taken", index="by_name", existing_id="j57"),
        SchemaChangeError("does not fit", table="tasks", ids=["a", "b"], count=12),
        ConflictError("changed", table="t", index="by_id", number=7),
        errors.LimitError("too many", code="TooManyWrites"),
        errors.LogError("the disk is full", code="DiskFull"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_livedb_arrives_whole(error):
    found = travelled(error)
    assert type(found) is type(error)
    assert {**vars(found), "code": found.code} == {**vars(error), "code": error.code}
    assert str(found) == str(error)


def test_an_applications_own_error_brings_its_data():
    assert travelled(ApplicationError({"why": [1, 2.0]})).data == {"why": [1, 2.0]}


@pytest.mark.parametrize("error", [ValueError("x", 3), KeyError("k"), ZeroDivisionError()])
def test_an_exception_of_python_is_raised_as_itself(error):
    found = travelled(error)
    assert type(found) is type(error)
    assert found.args == error.args


def test_a_note_says_where_in_a_function_that_travelled_it_was_raised():
    code = compile("def share(n):\n    return 1 / n", "<share of a cell #1>", "exec")
    names = {}
    exec(code, names)
    with pytest.raises(ZeroDivisionError) as caught:
        names["share"](0)
    assert travelled(caught.value).__notes__ == ["On the service: line 2 of share"]


def test_any_other_is_a_remote_error_that_names_its_class():
    class OwnError(Exception):
        pass

    for error in (OwnError("mine"), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), SystemExit(3)):
        found = travelled(error)
        assert type(found) is RemoteError
        assert found.kind == type(error).__name__


@pytest.mark.parametrize(
    "sent",
    [
        None,
        {},
        {"class": "Exception.__subclasses__"},
        {"class": "Sequence", "message": "a name of the module that is no error"},
        {"class": "LivedbError", "message": "x", "attributes": {"__class__": "x", "ids": ["a"]}},
        {"class": "int", "args": [1]},
        {"class": "OSError", "args": "no list"},
        {"class": "UnicodeDecodeError", "args": [1]},
    ],
)
def test_whatever_is_sent_makes_an_error_and_nothing_else(sent):
    assert isinstance(error_from(sent), Exception)
