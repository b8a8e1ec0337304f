"""Annotated classes as tables, and annotated functions as argument and result types."""

from __future__ import annotations

import inspect
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from livedb.errors import (
    ArgumentValidationError,
    ReturnsValidationError,
    SchemaDefinitionError,
    ValidationError,
)
from livedb.schema.hints import HintReader, Namespace, class_fields
from livedb.schema.namespace import v
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition, named_indexes
from livedb.schema.tables import TableDefinition, index_definition
from livedb.schema.validators import REFUSED, Json, ObjectValidator, TableNumbers, Validator
from livedb.values import UNSET, Missing, Value, path_step


def table_from_class(
    cls: type,
    *,
    name: str,
    indexes: Mapping[str, Sequence[str]] | None = None,
    unique: Mapping[str, Sequence[str]] | None = None,
    search_indexes: Mapping[str, SearchIndexDefinition] | None = None,
    vector_indexes: Mapping[str, VectorIndexDefinition] | None = None,
    namespace: Namespace | None = None,
) -> TableDefinition:
    """The table whose documents have the annotated fields of `cls`.

    The class itself stays an ordinary class, which is what type checkers read; it is marked with
    `__livedb_table__` and `__livedb_definition__`, so that `Id[Task]` and `list[Task]` mean it.

    Args:
        cls: a plain class, a dataclass or a TypedDict.
        name: the table's.
        indexes: fields by index name.
        unique: the same for unique indexes.
        search_indexes: what `livedb.search_index` made, by index name.
        vector_indexes: what `livedb.vector_index` made, by index name.
        namespace: further names its annotations may use, such as the locals of the caller.

    Raises:
        SchemaDefinitionError: an annotation, default, name or index is not allowed.
    """
    # Set before the annotations are read: a field may be an Id of this very class.
    previous = vars(cls).get("__livedb_table__")
    cls.__livedb_table__ = name  # type: ignore[attr-defined]
    try:
        reader = HintReader(namespace or {}, f"class {cls.__name__}")
        fields = class_fields(cls, reader)
        definition = TableDefinition(
            name,
            v.object({field.name: field.validator for field in fields}),
            _index_definitions(indexes, unique),
            _defaults_of(fields),
            named_indexes(search_indexes, SearchIndexDefinition, "search_index"),
            named_indexes(vector_indexes, VectorIndexDefinition, "vector_index"),
        )
    except BaseException:  # a Ctrl-C too: the class keeps what it had
        if previous is None:
            del cls.__livedb_table__  # type: ignore[attr-defined]
        else:
            cls.__livedb_table__ = previous  # type: ignore[attr-defined]
        raise
    cls.__livedb_definition__ = definition  # type: ignore[attr-defined]
    return definition


def _index_definitions(
    indexes: Mapping[str, Sequence[str]] | None, unique: Mapping[str, Sequence[str]] | None
) -> tuple[Any, ...]:
    return (
        *(index_definition(name, fields) for name, fields in (indexes or {}).items()),
        *(index_definition(name, fields, unique=True) for name, fields in (unique or {}).items()),
    )


def _defaults_of(fields: Sequence[Any]) -> dict[str, Value]:
    defaults: dict[str, Value] = {}
    for field in fields:
        if not isinstance(field.default, Missing):
            defaults[field.name] = field.default
        for path, value in field.inner_defaults.items():
            defaults[field.name + path] = value
    return defaults


@dataclass(frozen=True, kw_only=True)
class FunctionSignature:
    """What a function takes and gives, as validators; names are the wire's.

    Attributes:
        name: the function's, for messages.
        args: the declared arguments; one with a default is optional.
        extra: the type of further arguments, for `**kwargs`; None when there may be none.
        returns: the type of the result; None when the function does not say.
        defaults: by Python name; livedb never needs them, since Python fills them in.
        wire_names: by Python name: `from_` is `from` on the wire.
        positional: the Python names that may be given by position, in order.
    """

    name: str
    args: ObjectValidator
    extra: Validator | None
    returns: Validator | None
    defaults: Mapping[str, Value]
    wire_names: Mapping[str, str]
    positional: tuple[str, ...]

    @cached_property
    def renames(self) -> bool:
        """Whether some argument has another name on the wire than in Python."""
        return any(name != wire_name for name, wire_name in self.wire_names.items())

    @property
    def has_kwargs(self) -> bool:
        """Whether the function takes arguments that it does not name."""
        return self.extra is not None

    def arguments(self, args: Sequence[Value], kwargs: Mapping[str, Value]) -> dict[str, Value]:
        """The arguments of a Python call by their wire names; one that is UNSET is left out.

        Raises:
            TypeError: too many positional arguments, or one given twice, as Python raises it.
        """
        if len(args) > len(self.positional):
            raise TypeError(
                f"{self.name}() takes {len(self.positional)} positional arguments (without the "
                f"context) but {len(args)} were given"
            )
        given = {
            self.wire_names[name]: value for name, value in zip(self.positional, args, strict=False)
        }
        for name, value in kwargs.items():
            wire_name = self.wire_names.get(name, name)
            if wire_name in given:
                raise TypeError(f"{self.name}() got multiple values for argument {name!r}")
            given[wire_name] = value
        return {name: value for name, value in given.items() if not isinstance(value, Missing)}

    def check_arguments(
        self,
        arguments: Mapping[str, Value],
        *,
        tables: TableNumbers | None = None,
        from_wire: bool = False,
    ) -> dict[str, Value]:
        """The arguments converted, by wire name.

        Raises:
            ArgumentValidationError: names the argument, what was found and what was expected.
        Cost: about 0.3 us an argument.
        """
        if self.extra is None and not from_wire:
            # What nearly every call is; a refusal is explained below.
            accepted: Value = self.args.compiled(arguments, tables)
            if accepted is not REFUSED:
                return accepted  # type: ignore[no-any-return]
        declared = dict(arguments)
        extra: dict[str, Value] = {}
        if self.extra is not None:
            extra = {name: declared.pop(name) for name in arguments if name not in self.args.fields}
        try:
            checked: dict[str, Value] = self.args.check(
                declared, tables=tables, from_wire=from_wire
            )
            for name, value in extra.items():
                assert self.extra is not None
                checked[name] = self.extra.check(
                    value, path_step(name), tables=tables, from_wire=from_wire
                )
        except ValidationError as error:
            raise ArgumentValidationError(
                f"{self.name}: {error.message}", path=error.path, kind=error.kind
            ) from None
        return checked

    def python_arguments(self, arguments: Mapping[str, Value]) -> Mapping[str, Value]:
        """Checked arguments by the names the function has for them, to call it with.

        An argument that may be absent, is, and has no default becomes UNSET.
        """
        if not self.renames and len(arguments) == len(self.wire_names):
            return arguments
        called = dict(arguments)
        for name, wire_name in self.wire_names.items():
            if wire_name in arguments:
                if name != wire_name:
                    called[name] = called.pop(wire_name)
            elif name not in self.defaults:
                called[name] = UNSET
        return called

    def check_result(self, result: Value, *, tables: TableNumbers | None = None) -> Value:
        """The canonical result converted to the type the function promises.

        Raises:
            ReturnsValidationError: names the path, what was found and what was expected.
        """
        if self.returns is None:
            return result
        try:
            return self.returns.check(result, tables=tables)
        except ValidationError as error:
            raise ReturnsValidationError(
                f"{self.name}: its result does not match its return annotation. {error.message}",
                path=error.path,
                kind=error.kind,
            ) from None

    def to_json(self) -> Json:
        """All of it but the defaults' values, for a client that is to call the function."""
        return {
            "name": self.name,
            "args": self.args.to_json(),
            "extra": None if self.extra is None else self.extra.to_json(),
            "returns": self.returns_json(),
            "wireNames": dict(self.wire_names),
            "positional": list(self.positional),
        }

    @classmethod
    def from_json(cls, data: Json) -> FunctionSignature:
        """The signature that `to_json` wrote; the defaults stay where the function is."""
        args = Validator.from_json(data["args"])
        assert isinstance(args, ObjectValidator), "arguments are an object"
        extra, returns = data["extra"], data["returns"]
        return cls(
            name=data["name"],
            args=args,
            extra=None if extra is None else Validator.from_json(extra),
            returns=None if returns is None else Validator.from_json(returns),
            defaults={},
            wire_names=data["wireNames"],
            positional=tuple(data["positional"]),
        )

    def args_json(self) -> Json:
        """The arguments as Convex's validator JSON; any, when further ones are allowed."""
        return v.any().to_json() if self.has_kwargs else self.args.to_json()

    def returns_json(self) -> Json:
        """The result as Convex's validator JSON, None when the function does not say."""
        return None if self.returns is None else self.returns.to_json()


def signature_validators(
    function: Callable[..., Any],
    *,
    skip_first: bool = True,
    namespace: Namespace | None = None,
    alias: Mapping[str, str] | None = None,
) -> FunctionSignature:
    """The types of a function's arguments and result, from its annotations.

    An argument without annotation takes anything. A trailing underscore is dropped on the wire
    (`from_` is `from`), unless `alias` says otherwise. A class made by `db.table` stands for whole
    documents, with `_id` and `_creationTime`.

    Args:
        function: a plain or async function.
        skip_first: whether the first parameter is the context.
        namespace: further names its annotations may use, such as the locals of the caller.
        alias: wire name by Python name.

    Raises:
        SchemaDefinitionError: an annotation cannot be stored, or the parameters are of a kind that
            no caller by name could fill.
    """
    parameters = list(inspect.signature(function).parameters.values())
    name = getattr(function, "__name__", "function")
    if skip_first:
        _require_context(name, parameters)
        parameters = parameters[1:]
    innermost = inspect.unwrap(function)  # its annotations are those that `signature` shows
    names = ChainMap(
        dict(namespace or {}), _closure_of(innermost), getattr(innermost, "__globals__", {})
    )
    reader = HintReader(names, f"function {name}", wants_whole_documents=True)
    args, extra = _read_parameters(parameters, reader, alias or {})
    return FunctionSignature(
        name=name,
        args=v.object(dict(args.values())),
        extra=extra,
        returns=_read_returns(function, reader),
        defaults={
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.default is not inspect.Parameter.empty
        },
        wire_names={python_name: wire_name for python_name, (wire_name, _) in args.items()},
        positional=tuple(
            parameter.name
            for parameter in parameters
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ),
    )


def _require_context(name: str, parameters: Sequence[inspect.Parameter]) -> None:
    by_position = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    if not parameters or parameters[0].kind not in by_position:
        raise SchemaDefinitionError(
            f"function {name}: its first parameter must be the context: def {name}(ctx, ...)"
        )


def _closure_of(function: Callable[..., Any]) -> dict[str, Any]:
    """What a function sees of the functions around it; annotations may name that too."""
    code = getattr(function, "__code__", None)
    cells = getattr(function, "__closure__", None) or ()
    names = () if code is None else code.co_freevars
    return {
        name: cell.cell_contents
        for name, cell in zip(names, cells, strict=True)
        if not _is_empty(cell)
    }


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking is how one learns it
    except ValueError:
        return True
    return False


def _read_parameters(
    parameters: Sequence[inspect.Parameter], reader: HintReader, alias: Mapping[str, str]
) -> tuple[dict[str, tuple[str, Validator]], Validator | None]:
    """(wire name, validator) by Python name, and the type of `**kwargs`."""
    args: dict[str, tuple[str, Validator]] = {}
    extra: Validator | None = None
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            extra = _read_parameter(parameter, reader)
            continue
        if parameter.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.POSITIONAL_ONLY,
        ):
            raise SchemaDefinitionError(
                f"{reader.place}: {parameter} cannot be given by name, and callers on the network "
                f"give every argument by name"
            )
        wire_name = alias.get(parameter.name, _wire_name(parameter.name))
        if any(wire_name == other for other, _ in args.values()):
            raise SchemaDefinitionError(
                f"{reader.place}: two parameters are called {wire_name!r} on the wire"
            )
        validator = _read_parameter(parameter, reader)
        if parameter.default is not inspect.Parameter.empty:
            validator = validator.optional()
        args[parameter.name] = (wire_name, validator)
    unknown = set(alias) - set(args)
    if unknown:
        raise SchemaDefinitionError(
            f"{reader.place}: alias names {', '.join(sorted(unknown))}, which are no parameters"
        )
    return args, extra


def _wire_name(name: str) -> str:
    return name[:-1] if name.endswith("_") and not name.startswith("_") else name


def _read_parameter(parameter: inspect.Parameter, reader: HintReader) -> Validator:
    if parameter.annotation is inspect.Parameter.empty:
        return v.any()
    place = f"{reader.place}, parameter {parameter.name!r}"
    return reader.at(place).read(parameter.annotation)


def _read_returns(function: Callable[..., Any], reader: HintReader) -> Validator | None:
    annotation = inspect.signature(function).return_annotation
    if annotation is inspect.Signature.empty:
        return None
    validator = reader.at(f"{reader.place}, its result").read(annotation)
    if validator.is_optional:
        raise SchemaDefinitionError(
            f"{reader.place}: a result is always there; return None instead of Missing"
        )
    return validator
