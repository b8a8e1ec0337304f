"""A piece of source by itself: compiled where it stands, and asked which names it needs.

Whoever captures and whoever rebuilds compile a piece in the same way, so the names found here are
those it will look for there. A function is compiled without its decorators, defaults and
annotations: its object is already the function below the decorators, its defaults are values, and
annotations are read as text.
"""

from __future__ import annotations
import __future__

import ast
import dis
import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any, NamedTuple

from livedb.errors import TravelError
from livedb.travel.parcel import Source

Statement = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign
Function = ast.FunctionDef | ast.AsyncFunctionDef

TEXT_ANNOTATIONS = __future__.annotations.compiler_flag
"""The flag of code below `from __future__ import annotations`."""

_LINES_MAX = 100_000
"""Lines of a cell or file; a piece that claims to stand beyond is refused."""


class NameUse(NamedTuple):
    """Where a piece needs a name from around it.

    Attributes:
        line: where it uses it first.
        at_definition: whether to be defined, and not only when called.
    """

    line: int
    at_definition: bool


class AssignedGlobal(NamedTuple):
    """A `global` that a piece assigns."""

    name: str
    line: int


def parse(source: Source) -> Statement | ast.Lambda:
    """The tree of a piece, its line numbers those of the place it was written in.

    Raises:
        TravelError: the text is something else.
    """
    is_indented = source.text[:1] in {" ", "\t"}
    try:
        tree: Any = ast.parse(f"if 1:\n{source.text}" if is_indented else source.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _bad_source(source, str(error)) from error
    node: Any = tree
    for _ in range(2 if is_indented else 1):
        node = node.body[0] if len(getattr(node, "body", ())) == 1 else None
    if source.form == "lambda":
        node = getattr(node, "value", None)
    if not isinstance(node, _NODES[source.form]) or not 1 <= source.line <= _LINES_MAX:
        raise _bad_source(source, "it says something else")
    ast.increment_lineno(node, source.line - 1 - (1 if is_indented else 0))
    return node  # type: ignore[return-value]  # one of those that `_NODES` names


def _bad_source(source: Source, why: str) -> TravelError:
    return TravelError(
        f"The source of {source.name!r} is no {source.form}: {why}", code="BadParcel"
    )


_NODES: dict[str, tuple[type[ast.AST], ...]] = {
    "function": (ast.FunctionDef, ast.AsyncFunctionDef),
    "lambda": (ast.Lambda,),
    "class": (ast.ClassDef,),
    "assignment": (ast.Assign,),
}


def compile_piece(source: Source, file: str) -> CodeType:
    """The code that defines what the piece says; for a lambda, that evaluates to it.

    Raises:
        TravelError: as `parse`.
        SyntaxError: it says `nonlocal` of a variable outside of it.
    """
    node = parse(source)
    flags = TEXT_ANNOTATIONS if source.has_text_annotations else 0
    if isinstance(node, ast.Lambda):
        _take_defaults(node.args)
        tree: ast.Expression | ast.Module = ast.Expression(node)
    else:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.decorator_list = []
            _take_defaults(node.args)
            _take_annotations(node)
        tree = ast.Module([node], [])
    mode = "eval" if isinstance(tree, ast.Expression) else "exec"
    code: CodeType = compile(tree, file, mode, flags, dont_inherit=True)
    return code


def _take_defaults(arguments: ast.arguments) -> None:
    """Their places stay, so that the code is the same; their values are set afterwards."""
    arguments.defaults = list(map(_placeholder, arguments.defaults))
    arguments.kw_defaults = [each and _placeholder(each) for each in arguments.kw_defaults]


def _placeholder(default: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Constant(None), default)


def _take_annotations(function: Function) -> None:
    function.returns = None
    for argument in _arguments(function):
        argument.annotation = None


def _arguments(function: Function) -> list[ast.arg]:
    args = function.args
    starred = [each for each in (args.vararg, args.kwarg) if each is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *starred]


def annotations_of(source: Source) -> dict[str, ast.expr]:
    """The annotations of a function by parameter, that of its result under "return"."""
    node = parse(source)
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return {}
    found = {each.arg: each.annotation for each in _arguments(node) if each.annotation is not None}
    return found | ({} if node.returns is None else {"return": node.returns})


def annotation_names(annotation: ast.expr) -> Iterator[tuple[str, int, bool]]:
    """(name, line, whether it only stands in a text) that an annotation may need.

    A text may be a forward reference, `list["Task"]`, or name a table, `Id["tasks"]`.
    """
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno, False
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in _names_in(node.value):
                yield name, node.lineno, True


def _names_in(text: str) -> list[str]:
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]


def names_needed(code: CodeType, *, is_at_definition: bool = True) -> dict[str, NameUse]:
    """The names that code finds around it, functions nested in it included.

    Source: a compiler says exactly which names are global, where a walk over the tree would have
    to know every rule of scopes.
    """
    found: dict[str, NameUse] = {}
    _collect(code, found, set(), is_at_definition=is_at_definition)
    return found


def _collect(
    code: CodeType, found: dict[str, NameUse], bound: set[str], *, is_at_definition: bool
) -> None:
    for instruction in dis.get_instructions(code):
        line = instruction.positions.lineno if instruction.positions else None
        name = instruction.argval
        if instruction.opname == "STORE_NAME":
            bound.add(name)
        elif instruction.opname in _LOADS and name not in bound and name not in _GIVEN:
            before = found.get(name)
            needed_now = is_at_definition or (before is not None and before.at_definition)
            first = before.line if before is not None else line or code.co_firstlineno
            found[name] = NameUse(first, needed_now)
    for nested in code.co_consts:
        if isinstance(nested, CodeType):
            runs_now = is_at_definition and (_is_class_body(nested) or nested.co_name[:1] == "<")
            _collect(
                nested,
                found,
                set(),
                is_at_definition=runs_now,
            )


_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_GIVEN = frozenset(
    {"__name__", "__qualname__", "__module__", "__doc__", "__builtins__", "__annotations__"}
)
"""Names that every scope has."""


def _is_class_body(code: CodeType) -> bool:
    return not code.co_flags & inspect.CO_OPTIMIZED


def assigned_globals(code: CodeType) -> Iterator[AssignedGlobal]:
    """The globals that code assigns or deletes, functions nested in it included."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in {"STORE_GLOBAL", "DELETE_GLOBAL"}:
            line = instruction.positions.lineno if instruction.positions else None
            yield AssignedGlobal(instruction.argval, line or code.co_firstlineno)
    for nested in code.co_consts:
        if isinstance(nested, CodeType):
            yield from assigned_globals(nested)
