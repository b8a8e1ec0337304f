"""Each public name has one door, and everything behind a door is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

LIVEDB = Path(__file__).parents[2] / "livedb"
DOORS = [
    "livedb",
    *(
        f"livedb.{name}"
        for name in ("lowlevel", "testing")
        if (LIVEDB / name).is_dir() or (LIVEDB / f"{name}.py").exists()
    ),
]


def public_objects():
    for door in DOORS:
        module = importlib.import_module(door)
        for name in module.__all__:
            yield door, name, getattr(module, name)


def test_a_name_is_public_at_one_door_only():
    seen: dict[str, str] = {}
    for door, name, _ in public_objects():
        assert name not in seen, f"{name} is public in {seen[name]} and in {door}"
        seen[name] = door


@pytest.mark.parametrize("door", DOORS)
def test_a_door_lists_what_it_offers_once(door):
    module = importlib.import_module(door)
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))


def test_every_public_object_is_documented():
    undocumented = [
        f"{door}.{name}"
        for door, name, value in public_objects()
        if (inspect.isclass(value) or inspect.isroutine(value)) and not _own_doc(value)
    ]
    assert undocumented == []


def test_every_public_method_of_a_public_class_is_documented():
    undocumented = [
        f"{name}.{attribute}"
        for _, name, value in public_objects()
        if inspect.isclass(value)
        for attribute, member in vars(value).items()
        if not attribute.startswith("_")
        and (inspect.isroutine(member) or isinstance(member, property))
        and not inspect.getdoc(getattr(value, attribute))
    ]
    assert undocumented == []


def _own_doc(value: object) -> str | None:
    """Its own docstring: a class inherits none, and a dataclass's made one is no sentence."""
    doc = vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
    return None if doc and doc.startswith(f"{getattr(value, '__name__', '')}(") else doc


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(LIVEDB))
        for path in sorted(LIVEDB.rglob("*.py"))
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_an_unknown_name_is_an_attribute_error():
    module = importlib.import_module("livedb")
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018  reading it is the test


def test_every_error_of_the_tree_is_public():
    errors = importlib.import_module("livedb.errors")
    tree = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.LivedbError)
    }
    assert tree - set(importlib.import_module("livedb").__all__) == set()
