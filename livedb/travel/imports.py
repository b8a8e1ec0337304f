"""What an installed package defines travels as the name to import it by.

A package is installed when it belongs to Python, to livedb or to a site folder, or when some
distribution claims it. A module beside the notebook is not: what comes from there travels as
source.
"""

from __future__ import annotations

import builtins
import site
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache, reduce
from importlib.metadata import packages_distributions
from types import FunctionType, ModuleType
from typing import Any

_HOSTS = frozenset({"IPython", "ipykernel"})
"""Packages that put names of theirs among the builtins of a notebook."""


def is_builtin(name: str, value: object) -> bool:
    """Whether the name means the same in every Python, and need not travel."""
    if getattr(builtins, name, _NOTHING) is not value:
        return False
    owner = getattr(value, "__module__", None) or type(value).__module__
    return owner.partition(".")[0] not in _HOSTS


_NOTHING = object()


def is_installed(module: str) -> bool:
    """Whether a module is one of an installed package."""
    return _is_installed(module.partition(".")[0])


@cache
def _is_installed(package: str) -> bool:
    if package in {"__main__", "__mp_main__"}:
        return False
    if package == "livedb" or package in sys.stdlib_module_names:
        return True
    module = sys.modules.get(package)
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    folders = tuple(_site_folders())
    if any(place.startswith(folders) for place in places):
        return True
    return package in _distributed()  # a development install lies anywhere


@cache
def _distributed() -> frozenset[str]:
    return frozenset(packages_distributions())


@cache
def _site_folders() -> frozenset[str]:
    found = {*site.getsitepackages(), site.getusersitepackages()}
    found |= {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return frozenset(folder for folder in found if folder)


def import_name(value: object, name: str) -> tuple[str, str] | None:
    """(module, dotted path in it) that gives this very object; None when none does.

    Args:
        name: what a function calls it, which is often its name in its module too.
    """
    owner = _owner_of(value)
    if owner is not None and is_installed(owner):
        path = getattr(value, "__qualname__", None)
        if isinstance(path, str) and attribute_of(sys.modules.get(owner), path) is value:
            return owner, path
    elif isinstance(value, FunctionType | type):
        return None  # the user's own
    return _found_by_name(value, name)


def _owner_of(value: object) -> str | None:
    """The module an object was made in; `functools.wraps` copies the name of another."""
    if isinstance(value, FunctionType):
        owner = value.__globals__.get("__name__")
    else:
        owner = getattr(value, "__module__", None)
    return owner if isinstance(owner, str) else None


def attribute_of(module: Any, path: str) -> Any:
    """What a module has under a dotted path; None when it has nothing there."""
    return reduce(lambda found, step: getattr(found, step, None), path.split("."), module)


def _found_by_name(value: object, name: str) -> tuple[str, str] | None:
    names = [each for each in (name, getattr(value, "__name__", None)) if isinstance(each, str)]
    found = [
        (module, each) for module, each in _installed_names(names) if _has(module, each, value)
    ]
    return min(found, key=lambda one: (one[0].startswith("_"), len(one[0]), one), default=None)


def _installed_names(names: list[str]) -> Iterator[tuple[str, str]]:
    for module in list(sys.modules):
        if is_installed(module):
            for name in names:
                yield module, name


def _has(module: str, name: str, value: object) -> bool:
    """Asked of the module's dict: its own `__getattr__` might import something."""
    known = sys.modules.get(module)
    return isinstance(known, ModuleType) and vars(known).get(name, _NOTHING) is value
