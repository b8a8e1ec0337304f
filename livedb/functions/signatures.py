"""Signatures as callers see them: without the context, annotations as they are written in a cell.

Of a function that runs elsewhere the signature travels as text: its types may not be here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

DOC_CHARACTERS_MAX = 4_000
"""Characters of a docstring that travel."""


class _AsWritten(str):
    """An annotation's or a default's text; `inspect` shows these by their repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_ELSEWHERE = _AsWritten("...")
"""Stands for a default that stays where the function is."""


def call_signature(function: Callable[..., Any]) -> inspect.Signature:
    """The signature as callers see it: without the context."""
    signature = inspect.signature(function)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def signature_text(signature: inspect.Signature) -> str:
    """`(user: Id[User]) -> list[Task]`: annotations as they are written in a cell."""
    parameters = [
        each.replace(annotation=_annotation(each.annotation))
        for each in signature.parameters.values()
    ]
    returns = _annotation(signature.return_annotation)
    return str(signature.replace(parameters=parameters, return_annotation=returns))


def _annotation(annotation: Any) -> Any:
    if annotation is inspect.Signature.empty:
        return annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return _AsWritten(_QUALIFIED.sub(lambda found: found[1] or "", text))


_QUALIFIED = re.compile(
    r"""('[^']*'|"[^"]*")|\b[A-Za-z_]\w*\.(?:[A-Za-z_]\w*\.|<locals>\.)*(?=[A-Za-z_])"""
)
"""A text in quotes, which stays, or the modules before a name."""


def help_of(function: Callable[..., Any]) -> dict[str, Any]:
    """What `function_with_help` needs, as JSON: parameters, types as text, the docstring."""
    signature = call_signature(function)
    return {
        "parameters": [
            {
                "name": each.name,
                "kind": each.kind.name,
                "annotation": _text(each.annotation),
                "isOptional": each.default is not inspect.Parameter.empty,
            }
            for each in signature.parameters.values()
        ],
        "returns": _text(signature.return_annotation),
        "doc": (inspect.getdoc(function) or "")[:DOC_CHARACTERS_MAX],
    }


def _text(annotation: Any) -> str | None:
    return None if annotation is inspect.Signature.empty else str(_annotation(annotation))


def function_with_help(call: Callable[..., Any], given: Mapping[str, Any]) -> Callable[..., Any]:
    """A function that does what `call` does, and looks in help and tooltips as `help_of` says."""
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [
        inspect.Parameter(
            each["name"],
            getattr(inspect.Parameter, each["kind"]),
            annotation=_read(each["annotation"]),
            default=_ELSEWHERE if each["isOptional"] else inspect.Parameter.empty,
        )
        for each in given["parameters"]
    ]
    # A parameter by position alone comes before the context, which is dropped again.
    only = inspect.Parameter.POSITIONAL_ONLY
    if parameters and parameters[0].kind is only:
        context = context.replace(kind=only)

    def function(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    signature = inspect.Signature([context, *parameters], return_annotation=_read(given["returns"]))
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__doc__ = given["doc"] or None
    return function


def _read(text: str | None) -> Any:
    return inspect.Signature.empty if text is None else _AsWritten(text)
