"""TypeScript for pages: the types of `api` and `internal`, of documents and of ids.

They are used with Convex's own `convex` package, as the files that `npx convex codegen` makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from livedb.codegen.api import PAGINATION_OPTIONS, Api, Module, arguments_of, is_loose, is_paginated
from livedb.functions.definition import FunctionDefinition
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import (
    ArrayValidator,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    Validator,
)
from livedb.values import Int64

HEADER = "// Made by `livedb codegen`. Changes are lost when it is made again.\n"

_PLAIN = {
    "any": "any",
    "null": "null",
    "number": "number",
    "integer": "number",
    "datetime": "number",
    "bigint": "bigint",
    "boolean": "boolean",
    "string": "string",
    "bytes": "ArrayBuffer",
}

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")

_API_JS = f"""\
{HEADER}
import {{ anyApi }} from "convex/server";

export const api = anyApi;
export const internal = anyApi;
"""

_SYSTEM_INDEXES = {"by_id": ["_id"], "by_creation_time": ["_creationTime"]}


def typescript_files(api: Api) -> dict[str, str]:
    """The files by name: `api.d.ts`, `api.js` and `dataModel.d.ts`."""
    return {"api.d.ts": _api(api), "api.js": _API_JS, "dataModel.d.ts": _data_model(api)}


# -- api -------------------------------------------------------------------------------------------


def _api(api: Api) -> str:
    body = "\n".join(
        f"export declare const {name}: {_module(api, api.modules(visibility), 0)};\n"
        for name, visibility in (("api", "public"), ("internal", "internal"))
    )
    server = [
        name
        for name in ("FunctionReference", "PaginationOptions", "PaginationResult")
        if re.search(rf"\b{name}\b", body)
    ]
    model = [name for name in ("Doc", "Id") if re.search(rf"\b{name}<", body)]
    imports = [
        f'import type {{ {", ".join(names)} }} from "{module}";\n'
        for names, module in ((server, "convex/server"), (model, "./dataModel"))
        if names
    ]
    return f"{HEADER}\n{''.join(imports)}\n{body}"


def _module(api: Api, module: Module, depth: int) -> str:
    """The object of a module; functions and modules of one name are both."""
    inside = "  " * (depth + 1)
    lines = []
    for name in module.names():
        parts = []
        if name in module.functions:
            parts.append(_reference(api, module.functions[name]))
        if name in module.modules:
            parts.append(_module(api, module.modules[name], depth + 1))
        lines.append(f"{inside}{_key(name)}: {' & '.join(parts)};\n")
    return f"{{\n{''.join(lines)}{'  ' * depth}}}" if lines else "{}"


def _reference(api: Api, function: FunctionDefinition) -> str:
    returns = function.signature.returns
    result = "any" if returns is None else typescript_type(returns, api)
    if is_paginated(function) and is_loose(returns):
        result = "PaginationResult<any>"
    kind = f'"{function.kind}", "{function.visibility}"'
    return f"FunctionReference<{kind}, {_arguments(api, function)}, {result}>"


def _arguments(api: Api, function: FunctionDefinition) -> str:
    arguments = arguments_of(function)
    if arguments is None:
        return "any"
    if not arguments.fields:
        return "Record<string, never>"
    replaced = {}
    if is_paginated(function) and is_loose(arguments.fields[PAGINATION_OPTIONS]):
        replaced = {PAGINATION_OPTIONS: "PaginationOptions"}
    return _object(arguments, api, replaced)


# -- types -----------------------------------------------------------------------------------------


def typescript_type(validator: Validator, api: Api) -> str:
    """A type of livedb as a client sees it: a datetime is its milliseconds, an int a number."""
    table = api.table_of(validator)
    if table is not None:
        return f"Doc<{json.dumps(table)}>"
    match validator:
        case IdValidator():
            return f"Id<{json.dumps(validator.table)}>"
        case LiteralValidator():
            value = validator.value
            return f"{int(value)}n" if isinstance(value, Int64) else json.dumps(value)
        case ArrayValidator():
            return f"Array<{typescript_type(validator.element, api)}>"
        case RecordValidator():
            keys, values = (
                typescript_type(each, api) for each in (validator.keys, validator.values)
            )
            return f"Record<{keys}, {values}>"
        case UnionValidator():
            return " | ".join(typescript_type(each, api) for each in validator.members) or "never"
        case ObjectValidator():
            return _object(validator, api)
        case _:
            return _PLAIN[validator.kind]


def _object(validator: ObjectValidator, api: Api, replaced: dict[str, str] | None = None) -> str:
    fields = [
        f"{_key(name)}{'?' if field.is_optional else ''}: "
        f"{(replaced or {}).get(name) or typescript_type(field, api)}"
        for name, field in validator.fields.items()
    ]
    return f"{{ {'; '.join(fields)} }}" if fields else "Record<string, never>"


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


# -- data model ------------------------------------------------------------------------------------


def _data_model(api: Api) -> str:
    names = " | ".join(json.dumps(table.name) for table in api.tables) or "never"
    tables = "".join(f"  {table.name}: {_table(table, api)};\n" for table in api.tables)
    return f"""{HEADER}
import type {{ GenericId }} from "convex/values";

export type TableNames = {names};

export type SystemTableNames = "_storage" | "_scheduled_functions";

/** The id of a document of a table. */
export type Id<TableName extends TableNames | SystemTableNames | (string & {{}})> =
  GenericId<TableName>;

/** A document of a table. */
export type Doc<TableName extends TableNames> = DataModel[TableName]["document"];

export type DataModel = {{
{tables}}};
"""


def _table(table: TableDefinition, api: Api) -> str:
    document = "any"
    if table.document is not None:
        # The table itself is no short name here: it would stand for itself.
        others = replace(api, tables=tuple(each for each in api.tables if each is not table))
        document = typescript_type(table.whole_document(), others)
    indexes = {index.name: [*index.fields, "_creationTime"] for index in table.indexes}
    listed = "; ".join(
        f"{name}: {json.dumps(fields)}" for name, fields in (_SYSTEM_INDEXES | indexes).items()
    )
    paths = "string" if table.document is None else " | ".join(_paths_of(table))
    return (
        "{\n"
        f"    document: {document};\n"
        f"    fieldPaths: {paths};\n"
        f"    indexes: {{ {listed} }};\n"
        "    searchIndexes: {};\n"
        "    vectorIndexes: {};\n"
        "  }"
    )


def _paths_of(table: TableDefinition) -> list[str]:
    found = ["_id", "_creationTime"]
    for name, validator in table.fields.items():
        found += _paths_in(name, validator)
    return [json.dumps(path) for path in dict.fromkeys(found)]


def _paths_in(path: str, validator: Validator) -> Iterator[str]:
    yield path
    members = validator.members if isinstance(validator, UnionValidator) else (validator,)
    for member in members:
        if isinstance(member, ObjectValidator):
            for name, inner in member.fields.items():
                yield from _paths_in(f"{path}.{name}", inner)
