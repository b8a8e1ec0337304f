"""A folder of Python modules as the functions of a workspace: read, checked, ready to be pushed.

Every module below the folder is one of functions: function `f` of `a/b.py` is named `a/b:f`. In the
folder itself four names have Convex's meaning: `schema.py`, `crons.py`, `http.py` and
`auth_config.py`. What starts with `_` or `.` holds no functions, but may be imported.

Each load imports everything anew, under a private package of its own, so a load that fails leaves
no trace and the functions of the load before never meet a half of the next. Inside the folder
`from . import prices` and `import prices` both find `prices.py` of the same load; a module of
Python's standard library wins over one of the same name (`from . import http` for that one).
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import itertools
import keyword
import linecache
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from livedb.errors import FunctionLoadError, LivedbError
from livedb.functions.cron_jobs import CronSpec, specify
from livedb.functions.crons import CronJobs
from livedb.functions.definition import (
    LOADED_PACKAGE,
    MARK,
    FunctionDefinition,
    FunctionMark,
    marked_function,
)
from livedb.functions.http_routes import HttpRouter
from livedb.schema.tables import SchemaDefinition

LOADS_KEPT = 2
"""Loads whose modules stay importable: the newest, and the one that may still be running."""

_generations = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFunctions:
    """What a folder held when it was loaded.

    Attributes:
        functions: sorted by name; the routes of `http.py` are among them, as HTTP actions.
        schema: what `schema.py` defines; None without one.
        auth_providers: `providers` of `auth_config.py`; None without one.
        crons: what `crons.py` declares.
        notes: what whoever loads the folder should be told.
    """

    functions: Sequence[FunctionDefinition]
    schema: SchemaDefinition | None = None
    auth_providers: Sequence[Mapping[str, Any]] | None = None
    crons: Sequence[CronSpec] = ()
    notes: Sequence[str] = ()

    def names(self) -> frozenset[str]:
        """The names of the functions."""
        return frozenset(function.name for function in self.functions)


class FunctionFolder:
    """A folder of functions. It changes no workspace: `Workspace.push_functions` does.

    Args:
        path: the folder.

    Raises:
        FunctionLoadError: there is no such folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().resolve()
        if not self.path.is_dir():
            raise FunctionLoadError(
                f"There is no folder {str(path)!r} to load functions from; make it, or name another"
            )
        self._kept: list[_Generation] = []
        self._lock = threading.Lock()
        """One load at a time; guards `_kept`."""

    def load(self) -> LoadedFunctions:
        """Import every module anew.

        Raises:
            FunctionLoadError: a module cannot be imported, or what it defines contradicts itself;
                names the file, the line and the cause. An earlier load stays as it was.
        """
        with self._lock:
            generation = _Generation(self.path)
            try:
                loaded = _read(generation)
            except BaseException:
                generation.discard()
                raise
            self._kept.append(generation)
            while len(self._kept) > LOADS_KEPT:
                self._kept.pop(0).discard()
            return loaded

    def close(self) -> None:
        """Let go of the modules; functions that import something when they run cannot any more."""
        with self._lock:
            while self._kept:
                self._kept.pop().discard()


# --- reading a folder -----------------------------------------------------------------------------


def _read(generation: _Generation) -> LoadedFunctions:
    # All are imported before anything is looked at: a module may mark functions of another.
    modules = {name: generation.load(name, path) for name, path in _iter_files(generation.path)}
    functions: dict[str, FunctionDefinition] = {}
    names: dict[int, str] = {}
    for name, module in modules.items():
        for attribute, function in _marked(generation, module):
            full = f"{name.replace('.', '/')}:{attribute}"
            with generation.blamed(function):
                functions[full] = marked_function(function, name=full)
            names[id(function)] = full
    notes: list[str] = []
    crons = modules.get("crons")
    auth = modules.get("auth_config")
    for route in _routes(modules.get("http")):
        functions[route.name] = route
    return LoadedFunctions(
        functions=[functions[name] for name in sorted(functions)],
        schema=_schema(modules.get("schema")),
        auth_providers=None if auth is None else _auth_providers(auth),
        crons=() if crons is None else _crons(crons, functions, names, notes),
        notes=notes,
    )


def _iter_files(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """The modules of functions: dotted name and file."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(("_", ".")):
            continue
        if path.is_dir():
            yield from _iter_files(path, f"{prefix}{path.name}.")
        elif path.suffix == ".py":
            name = f"{prefix}{path.stem}"
            _check_name(name, path)
            yield name, path


def _check_name(name: str, path: Path) -> None:
    for part in name.split("."):
        if not part.isidentifier() or keyword.iskeyword(part):
            raise FunctionLoadError(
                f"{path}: {part!r} cannot be part of a module's name; rename it with letters, "
                "digits and '_', or let its name start with '_' if it holds no functions",
                file=str(path),
            )


def _marked(
    generation: _Generation, module: ModuleType
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions that a module makes itself: those it imports belong to another."""
    for attribute, member in vars(module).items():
        is_function = isinstance(getattr(member, MARK, None), FunctionMark)
        if is_function and generation.maker_of(member) is module:
            yield attribute, member


def _schema(module: ModuleType | None) -> SchemaDefinition | None:
    if module is None:
        return None
    found = [each for each in vars(module).values() if isinstance(each, SchemaDefinition)]
    if not any(each is not found[0] for each in found[1:]) and found:
        return found[0]
    what = f"{len(found)} of them are" if found else "none is"
    raise _declaration_error(
        module, f"schema = livedb.define_schema({{..}}) is expected once, and {what} there"
    )


def _auth_providers(module: ModuleType) -> Sequence[Mapping[str, Any]]:
    providers = getattr(module, "providers", None)
    if isinstance(providers, (list, tuple)) and all(isinstance(p, dict) for p in providers):
        return list(providers)
    raise _declaration_error(module, "providers = [{..}, ..] is expected, a list of dicts")


def _routes(module: ModuleType | None) -> Sequence[FunctionDefinition]:
    """The HTTP actions that `http.py` routes."""
    if module is None:
        return ()
    router = getattr(module, "http", None)
    if not isinstance(router, HttpRouter):
        raise _declaration_error(
            module, f"http = livedb.HttpRouter() is expected, and http is {router!r}"
        )
    return router.definitions()


def _crons(
    module: ModuleType,
    functions: Mapping[str, FunctionDefinition],
    names: Mapping[int, str],
    notes: list[str],
) -> Sequence[CronSpec]:
    """The crons that `crons.py` declares.

    Args:
        names: of the functions of the folder, by the identity of what their modules have.
    """
    declared = getattr(module, "crons", None)
    if declared is None:
        notes.append("crons.py makes no object named 'crons', so it declares nothing")
        return ()
    if not isinstance(declared, CronJobs):
        raise _declaration_error(
            module, f"crons = livedb.cron_jobs() is expected, and crons is {declared!r}"
        )
    specs = []
    for each in declared.declared():
        given = each.function
        name = given if isinstance(given, str) else names.get(id(given), _described(given))
        function = functions.get(name)
        if function is None:
            raise _declaration_error(
                module,
                f"the cron {each.name!r} runs {name}, which is no function of this folder; it runs "
                "one that a module here marks with livedb.mutation or livedb.action, or its name "
                "as in 'module:function'",
            )
        try:
            specs.append(specify(each.name, each.schedule, function, each.args))
        except LivedbError as error:
            raise _declaration_error(module, f"the cron {each.name!r}: {error.message}") from error
    return specs


def _declaration_error(module: ModuleType, cause: str) -> FunctionLoadError:
    return FunctionLoadError(f"{module.__file__}: {cause}", file=module.__file__)


# --- importing ------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Generation:
    """The modules of one load, importable under a package of their own until `discard`."""

    path: Path
    package: str = field(init=False)
    finished: list[ModuleType] = field(default_factory=list)
    """The modules, each before those that import it (but in a circle)."""

    def __post_init__(self) -> None:
        self.package = f"{LOADED_PACKAGE}{next(_generations)}"
        self.builtins = {**vars(builtins), "__import__": self._import}
        self._makers: dict[int, ModuleType] = {}
        with _finder.lock:
            _finder.generations[self.package] = self
            if _finder not in sys.meta_path:
                sys.meta_path.insert(0, _finder)

    def discard(self) -> None:
        """Forget the modules."""
        with _finder.lock:
            _finder.generations.pop(self.package, None)
        prefix = f"{self.package}."
        for name in [name for name in list(sys.modules) if f"{name}.".startswith(prefix)]:
            sys.modules.pop(name, None)

    def load(self, name: str, path: Path) -> ModuleType:
        """Import the module `name`, from the file `path`.

        Raises:
            FunctionLoadError: it cannot be imported.
        """
        linecache.checkcache(str(path))
        try:
            return importlib.import_module(f"{self.package}.{name}")
        except (Exception, SystemExit) as error:  # the user's code: whatever it raises
            raise self._load_error(error, path) from error

    def maker_of(self, function: Callable[..., Any]) -> ModuleType | None:
        """The module that made a function: the first that had it, wherever its `def` stands."""
        if not self._makers:
            for module in self.finished:
                for member in vars(module).values():
                    self._makers.setdefault(id(member), module)
        return self._makers.get(id(function))

    @contextmanager
    def blamed(self, function: Callable[..., Any]) -> Iterator[None]:
        """What is wrong with a function's definition, with its file and line."""
        try:
            yield
        except LivedbError as error:
            code: CodeType | None = getattr(function, "__code__", None)
            file = None if code is None else code.co_filename
            line = None if code is None else code.co_firstlineno
            raise FunctionLoadError(
                f"{file}:{line}: {error.message}", file=file, line=line
            ) from error

    def spec(self, fullname: str) -> importlib.machinery.ModuleSpec | None:
        """Where the module of that full name is; None if it is nowhere in the folder."""
        _, _, inside = fullname.partition(".")
        place = self.path.joinpath(*inside.split(".")) if inside else self.path
        file = place / "__init__.py"
        if not file.is_file():
            file = place.with_name(f"{place.name}.py") if inside else file
        if file.is_file():
            folders = [str(place)] if file.name == "__init__.py" else None
            return importlib.util.spec_from_file_location(
                fullname,
                file,
                loader=_Loader(fullname, str(file), self),
                submodule_search_locations=folders,
            )
        if not place.is_dir():
            return None
        spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(place)]
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names of `__import__`
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """`import` as the modules of the folder see it: their neighbours have their short names."""
        first = name.partition(".")[0]
        if level or not self._has(first):
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = importlib.import_module(f"{self.package}.{name}")
        if not fromlist:
            return sys.modules[f"{self.package}.{first}"]
        for each in fromlist:
            if each != "*" and not hasattr(module, each) and hasattr(module, "__path__"):
                full = f"{module.__name__}.{each}"
                if importlib.util.find_spec(full) is not None:
                    importlib.import_module(full)
        return module

    def _has(self, first: str) -> bool:
        return (
            bool(first)
            and first not in sys.stdlib_module_names
            and ((self.path / f"{first}.py").is_file() or (self.path / first).is_dir())
        )

    def _load_error(self, error: BaseException, path: Path) -> FunctionLoadError:
        file, line = str(path), None
        if isinstance(error, SyntaxError) and error.filename:
            file, line = error.filename, error.lineno
        else:
            folder = f"{self.path}/"
            for frame in traceback.extract_tb(error.__traceback__):
                if frame.filename.startswith(folder):
                    file, line = frame.filename, frame.lineno
        where = file if line is None else f"{file}:{line}"
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        cause = f"{type(error).__name__}: {what}" if what else type(error).__name__
        cause = cause.replace(f"{self.package}.", "").replace(self.package, self.path.name)
        return FunctionLoadError(f"{where}: {cause}", file=file, line=line)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles what the file says now; writes no bytecode, whose times are too coarse to trust."""

    def __init__(self, fullname: str, path: str, generation: _Generation) -> None:
        super().__init__(fullname, path)
        self._generation = generation

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._generation.builtins
        super().exec_module(module)
        self._generation.finished.append(module)


class _Finder(MetaPathFinder):
    """Finds the modules of every generation that is kept."""

    def __init__(self) -> None:
        self.generations: dict[str, _Generation] = {}
        self.lock = threading.Lock()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if not fullname.startswith(LOADED_PACKAGE):
            return None
        generation = self.generations.get(fullname.partition(".")[0])
        return None if generation is None else generation.spec(fullname)


_finder = _Finder()


def _described(given: object) -> str:
    """What stands where a function is wanted, without an address in memory."""
    name = getattr(given, "__name__", None)
    if name == "<lambda>":
        return "a lambda"
    return repr(given) if name is None else f"the function {name!r}"
