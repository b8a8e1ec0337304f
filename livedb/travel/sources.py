"""Where the source of a function or class stands: in a file, or in a cell.

Python keeps lines by file name (`linecache`), and so do kernels for their cells. A class has no
file name: a method of its has, its module may, and else IPython's history of cells is searched,
newest first. Text is trusted only when it compiles to the very code that runs: a file may have been
edited since it was imported.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from livedb.travel.parcel import Source, SourceForm
from livedb.travel.pieces import TEXT_ANNOTATIONS


class NoSourceError(Exception):
    """No text says what an object does; the message says why."""


class Text(NamedTuple):
    """The text of a file or cell.

    Attributes:
        place: what to call it, "In[5]" or "helpers.py".
        lines_before: lines of the cell above the text: that of a magic.
    """

    text: str
    place: str
    lines_before: int = 0


def source_of_function(function: FunctionType) -> Source:
    """The source of a function or lambda, without decorators.

    Raises:
        NoSourceError: it is nowhere, or it is not what runs.
    """
    code = function.__code__
    is_stale = False
    for text in _texts_of_code(code):
        if not _is_code_of(text.text, code):
            is_stale = True
            continue
        node = _function_node(text.text, code)
        if node is not None:
            return _function_source(text, node, code)
    if is_stale and not code.co_filename.startswith("<"):
        raise NoSourceError(
            f"{Path(code.co_filename).name} is not what it was when it was imported; import "
            "it again, or restart the kernel"
        )
    raise NoSourceError(
        "nothing keeps its source: it was made by `exec` or typed at a bare prompt. Define it in a "
        "cell or in a file"
    )


def _function_source(text: Text, node: Any, code: CodeType) -> Source:
    form: SourceForm = "lambda" if isinstance(node, ast.Lambda) else "function"
    if form == "lambda":
        segment = f"({ast.get_source_segment(text.text, node)})"
    else:
        segment = _whole_lines(text.text, node.lineno, node.end_lineno)
    return Source(
        form=form,
        name=code.co_name,
        text=segment,
        place=text.place,
        line=node.lineno + text.lines_before,
        has_text_annotations=bool(_flags(code)),
    )


def _flags(code: CodeType) -> int:
    return code.co_flags & TEXT_ANNOTATIONS


def _whole_lines(text: str, first: int, last: int) -> str:
    return "\n".join(text.splitlines()[first - 1 : last]) + "\n"


# -- functions -------------------------------------------------------------------------------------


def _texts_of_code(code: CodeType) -> Iterator[Text]:
    """Texts that may hold the code, the likeliest first."""
    lines = linecache.getlines(code.co_filename)
    if lines:
        yield _text_of_lines(code.co_filename, lines)
    if not _is_file(code.co_filename):
        yield from _cells_run()


def _text_of_lines(file: str, lines: list[str]) -> Text:
    text = "".join(lines)
    return Text(text, Path(file).name if _is_file(file) else _cell_name(file, text))


def _is_file(name: str) -> bool:
    return Path(name).is_file()


def _cell_name(file: str, text: str) -> str:
    for number, cell in _history():
        if cell.strip() == text.strip():
            return f"In[{number}]"
    return file.strip("<>")


@lru_cache(maxsize=128)
def _tree_of(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@lru_cache(maxsize=128)
def _codes_of(text: str, flags: int) -> tuple[CodeType, ...]:
    """All code that a text compiles to. A cell may await."""
    try:
        whole = compile(text, "", "exec", flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(_nested_codes(whole))


def _nested_codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested_codes(constant)


def _is_same_code(one: CodeType, other: CodeType) -> bool:
    """Whether two compilations say the same, wherever their lines stand on the page."""
    return (
        one.co_name == other.co_name
        and one.co_firstlineno == other.co_firstlineno
        and one.co_code == other.co_code
        and one.co_names == other.co_names
        and one.co_varnames == other.co_varnames
        and one.co_freevars == other.co_freevars
        and _are_same_constants(one.co_consts, other.co_consts)
    )


def _are_same_constants(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(map(_is_same_constant, one, other))


def _is_same_constant(one: Any, other: Any) -> bool:
    if isinstance(one, CodeType):
        return isinstance(other, CodeType) and _is_same_code(one, other)
    return type(one) is type(other) and repr(one) == repr(other)


def _function_node(text: str, code: CodeType) -> Any:
    """The `def` or lambda that the code was compiled from."""
    tree = _tree_of(text)
    nodes = [] if tree is None else ast.walk(tree)
    found = [node for node in nodes if _may_be(node, code)]
    if code.co_name == "<lambda>":  # several may share a line: the smallest around its code
        found = [node for node in found if _surrounds(node, code)]
        return min(found, key=_extent, default=None)
    return found[-1] if found else None


def _may_be(node: ast.AST, code: CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and node.lineno == code.co_firstlineno
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return node.name == code.co_name and first == code.co_firstlineno


def _surrounds(node: Any, code: CodeType) -> bool:
    first, last = _extent_of(node.body)
    positions = [
        ((line, column), (end_line, end_column))
        for line, end_line, column, end_column in code.co_positions()
        if line and end_line and column is not None and end_column  # a marker has no width
    ]
    return all(first <= start and end <= last for start, end in positions)


def _extent_of(node: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _extent(node: Any) -> tuple[int, int]:
    (line, column), (end_line, end_column) = _extent_of(node)
    return end_line - line, end_column - column


# -- classes ---------------------------------------------------------------------------------------


def source_of_class(cls: type, *, is_ours: Callable[[ast.expr], bool]) -> Source:
    """The source of a class: its `class` statement, or the `X = call(...)` that made it.

    Args:
        is_ours: whether a decorator is livedb's; its lines become blank.

    Raises:
        NoSourceError: it is nowhere.
    """
    name = cls.__name__
    for text in _texts_of_class(cls):
        tree = _tree_of(text.text)
        nodes = [] if tree is None else list(ast.walk(tree))
        classes = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name == name]
        for node in reversed(classes):
            if _may_be_class(node, cls, text.text):
                return _class_source(text, node, cls, is_ours)
        for call in reversed(nodes):
            if isinstance(call, ast.Assign) and _makes(call, name):
                lines = _whole_lines(text.text, call.lineno, call.end_lineno or call.lineno)
                return _source(text, "assignment", cls, lines, call.lineno)
    raise NoSourceError("nothing keeps its source. Define it in a cell or in a file")


def _texts_of_class(cls: type) -> Iterator[Text]:
    for code in _codes_of_methods(cls):
        lines = linecache.getlines(code.co_filename)
        codes = _codes_of("".join(lines), _flags(code))
        if any(_is_same_code(code, each) for each in codes):
            yield _text_of_lines(code.co_filename, lines)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file:
        yield _text_of_lines(file, linecache.getlines(file))
    yield from _cells_run()
    for name, entry in reversed(list(linecache.cache.items())):
        if len(entry) == 4 and not _is_file(name):
            yield _text_of_lines(name, entry[2])


def _codes_of_methods(cls: type) -> Iterator[CodeType]:
    for member in vars(cls).values():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(function, FunctionType) and function.__module__ == cls.__module__:
            yield function.__code__


def _may_be_class(node: ast.ClassDef, cls: type, text: str) -> bool:
    """Whether the class has what the statement says, and nothing plain besides.

    There may be several of one name, and the one that is meant may be none of them: what `exec`
    makes stands nowhere.
    """
    annotated, assigned = _bound_in(node)
    own: Mapping[str, Any] = vars(cls).get("__annotations__", {})
    # A TypedDict repeats the annotations of its bases.
    is_typed_dict = hasattr(cls, "__total__")
    has_fields = set(annotated) <= set(own) if is_typed_dict else list(own) == list(annotated)
    return (
        has_fields
        and all(hasattr(cls, name) for name in assigned)
        and all(_has_value(cls, *each) for each in (annotated | assigned).items())
        and _has_no_more(node, cls, annotated.keys() | assigned.keys())
        and _has_members(node, cls, text)
    )


def _has_no_more(node: ast.ClassDef, cls: type, bound: AbstractSet[str]) -> bool:
    """Whether all functions of the class are in the body; plain values may be a decorator's."""
    own = f"{cls.__qualname__}."
    return all(
        name in bound or name.startswith("_")
        for name, value in vars(cls).items()
        if (isinstance(value, FunctionType) and value.__qualname__ == f"{own}{name}")
        or (type(value) in _PLAIN and not node.decorator_list)
    )


def _has_members(node: ast.ClassDef, cls: type, text: str) -> bool:
    """Whether classes in the body are classes, and undecorated functions run the very same code."""
    for statement in node.body:
        if isinstance(statement, ast.ClassDef):
            if not isinstance(vars(cls).get(statement.name), type):
                return False
        elif isinstance(statement, ast.FunctionDef) and not statement.decorator_list:
            method = vars(cls).get(statement.name)
            if isinstance(method, FunctionType) and not _is_code_of(text, method.__code__):
                return False
    return True


def _is_code_of(text: str, code: CodeType) -> bool:
    return any(_is_same_code(code, each) for each in _codes_of(text, _flags(code)))


def _bound_in(
    node: ast.ClassDef,
) -> tuple[dict[str, ast.expr | None], dict[str, ast.expr | None]]:
    """(annotated name -> value, other public name -> value) of a class body."""
    annotated: dict[str, ast.expr | None] = {}
    assigned: dict[str, ast.expr | None] = {}
    for statement in node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)):
                annotated[name] = statement.value
            case ast.Assign():
                names = [each.id for each in statement.targets if isinstance(each, ast.Name)]
                assigned |= dict.fromkeys(names, statement.value)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                assigned[statement.name] = None
    return annotated, {name: value for name, value in assigned.items() if not name.startswith("_")}


def _has_value(cls: type, name: str, value: ast.expr | None) -> bool:
    if not isinstance(value, ast.Constant):
        return True
    known = vars(cls).get(name)
    return type(known) not in _PLAIN or _is_same_constant(known, value.value)


_PLAIN = (bool, int, float, str, bytes)


def _makes(node: ast.Assign, name: str) -> bool:
    target = node.targets[0]
    is_call = isinstance(node.value, ast.Call)
    return is_call and isinstance(target, ast.Name) and target.id == name


def _class_source(
    text: Text, node: ast.ClassDef, cls: type, is_ours: Callable[[ast.expr], bool]
) -> Source:
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    lines = _whole_lines(text.text, first, node.end_lineno or node.lineno).splitlines()
    for decorator in filter(is_ours, node.decorator_list):
        for line in range(decorator.lineno, (decorator.end_lineno or decorator.lineno) + 1):
            lines[line - first] = ""
    while not lines[0].strip():
        del lines[0]
        first += 1
    return _source(text, "class", cls, "\n".join(lines) + "\n", first)


def _source(text: Text, form: SourceForm, cls: type, lines: str, line: int) -> Source:
    own: Mapping[str, Any] = vars(cls).get("__annotations__", {})
    has_text_annotations = bool(own) and all(isinstance(each, str) for each in own.values())
    return Source(
        form=form,
        name=cls.__name__,
        text=lines,
        place=text.place,
        line=line + text.lines_before,
        has_text_annotations=has_text_annotations,
    )


# -- cells -----------------------------------------------------------------------------------------


def _cells_run() -> Iterator[Text]:
    """The cells that IPython ran, newest first; the body of a cell magic is one by itself."""
    for number, cell in _history():
        body = _body_of_magic(cell)
        yield Text(cell if body is None else body, f"In[{number}]", 0 if body is None else 1)


def _history() -> Iterator[tuple[int, str]]:
    cells: Any = getattr(sys.modules.get("__main__"), "_ih", None)
    if isinstance(cells, list):
        for number in range(len(cells) - 1, 0, -1):
            if isinstance(cells[number], str):
                yield number, cells[number]


def _body_of_magic(cell: str) -> str | None:
    """What a cell says below `%%time`: IPython has made it a call by then."""
    if "run_cell_magic" not in cell:
        return None
    tree = _tree_of(cell)
    match tree and tree.body:
        case [ast.Expr(value=ast.Call(func=ast.Attribute(attr="run_cell_magic"), args=args))]:
            body = args[-1]
            if isinstance(body, ast.Constant) and isinstance(body.value, str):
                return body.value
    return None
