"""What is generated from: the functions of a workspace by module, and its tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from livedb.functions.definition import FunctionDefinition
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import ObjectValidator, RecordValidator, Validator

CELLS = "cells"
"""The module under which clients reach functions that a cell defines."""

PAGINATION_OPTIONS = "paginationOpts"
"""The argument by which Convex's hooks know a paginated query."""


@dataclass(slots=True)
class Module:
    """Functions and modules by their last name; one name may be both, a file and a folder."""

    functions: dict[str, FunctionDefinition] = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Every name here, sorted."""
        return sorted({*self.functions, *self.modules})


@dataclass(frozen=True, slots=True)
class Api:
    """Functions, routes and tables, each by name, sorted.

    Attributes:
        functions: those that clients call.
        routes: HTTP actions, which answer requests and are called by none.
    """

    functions: tuple[FunctionDefinition, ...]
    routes: tuple[FunctionDefinition, ...]
    tables: tuple[TableDefinition, ...]

    @classmethod
    def of(cls, functions: Iterable[FunctionDefinition], tables: Iterable[TableDefinition]) -> Api:
        """Those that clients can name; livedb's own are left out."""
        named = sorted(
            (each for each in functions if each.table is None), key=lambda each: each.name
        )
        shown = (each for each in tables if not each.name.startswith("_"))
        return cls(
            functions=tuple(each for each in named if each.kind != "http_action"),
            routes=tuple(each for each in named if each.kind == "http_action"),
            tables=tuple(sorted(shown, key=lambda each: each.name)),
        )

    def modules(self, visibility: str | None = None) -> Module:
        """The functions as a tree of modules, all or those of one visibility."""
        root = Module()
        for function in self.functions:
            if visibility not in {None, function.visibility}:
                continue
            path, colon, export = function.name.rpartition(":")
            module = root
            for part in (path if colon else CELLS).split("/"):
                module = module.modules.setdefault(part, Module())
            module.functions[export] = function
        return root

    def table_of(self, validator: Validator) -> str | None:
        """The table whose whole documents a type stands for."""
        if validator.kind not in {"object", "union"}:
            return None
        whole = validator.required()
        return next((each.name for each in self.tables if each.whole_document() == whole), None)


def is_paginated(function: FunctionDefinition) -> bool:
    """Whether it takes what `usePaginatedQuery` sends."""
    return function.kind == "query" and PAGINATION_OPTIONS in function.signature.args.fields


def is_loose(validator: Validator | None) -> bool:
    """Whether a type says nothing of what is inside."""
    if isinstance(validator, RecordValidator):
        return is_loose(validator.values)
    return validator is None or validator.kind == "any"


def arguments_of(function: FunctionDefinition) -> ObjectValidator | None:
    """The types of the arguments; None when it takes any."""
    signature = function.signature
    return None if signature.has_kwargs else signature.args
