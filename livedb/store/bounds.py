"""Functions of SQL that make of little a value of any size, each with a bound.

DuckDB does not count what a call makes against its memory limit: one `repeat('x', n)` with a large
number in a column took all memory, for a minute. (How long a call takes is answered elsewhere:
`live.statements`.) So macros of the same names in schema `main`
stand before the built-in ones, and the gate (`store.sql`) lets nobody name those. A bound is
checked inside the argument, not around the call: DuckDB computes a call of constants before it asks
a condition around it.

`printf` and `format` take any number of arguments, which no macro does: the gate wants their format
to be a constant and reads the widths in it.

Source: `reliability.md` 2.4 no. 45, tried on DuckDB 2.0.
"""

from __future__ import annotations

from typing import Final

import duckdb

CHARACTERS_MAX: Final = 1 << 20
"""Characters that one call may make: about what a document may hold."""

ITEMS_MAX: Final = CHARACTERS_MAX // 8
"""Items of a list that one call may make, of as many bytes when they are numbers."""

STEPS_MAX: Final = 16 << 20
"""Steps of a distance between two texts, which are as many as the product of their lengths."""

_MARK: Final = "livedb bound: "


def create_bounds(connection: duckdb.DuckDBPyConnection) -> None:
    """Define the macros, in the place of those of an older livedb."""
    for macro in (_ITEMS, *_macros()):
        connection.execute(f"create or replace macro {macro}")


def bound_error(text: str) -> str | None:
    """What a statement that met a bound did wrong, if the error `text` of DuckDB is about that."""
    _, mark, rest = text.partition(_MARK)
    return rest.partition("\n")[0] if mark else None


# How many items a range of numbers or of times has; 0 where that is for DuckDB to refuse.
_ITEMS: Final = """meta.items(start, stop, step) as coalesce(
    (try_cast(stop::varchar as double) - try_cast(start::varchar as double))
        / nullif(try_cast(step::varchar as double), 0),
    (epoch(try_cast(stop::varchar as timestamptz)) - epoch(try_cast(start::varchar as timestamptz)))
        / nullif(epoch(try_cast(step::varchar as interval)), 0),
    0)"""


def _bounded(name: str, argument: str, made: str, most: int, what: str) -> str:
    """`argument`, or an error when `made` is more than `most`.

    The error is that of a cast: after `error()` DuckDB would take the macro for one that gives
    another value each time, which may stand in no `partition by` and no `order by` of a window. It
    is in a condition, which has a type whatever that of the argument.
    """
    message = (
        f"{_MARK}function ''{name}'' is asked for one value of more than {most:,} {what}; "
        "make it smaller"
    )
    fails = f"cast('{message}' || chr(10) || ({made})::varchar as integer) = 0"
    return f"case when {made} > {most} and {fails} then null else {argument} end"


def _macros() -> list[str]:
    def characters(name: str, argument: str, made: str) -> str:
        return _bounded(name, argument, made, CHARACTERS_MAX, "characters")

    def items(name: str, argument: str, made: str) -> str:
        return _bounded(name, argument, made, ITEMS_MAX, "items")

    macros = [
        f"""repeat(value, times) as system.main.repeat(
            value, {characters("repeat", "times", "strlen(value::varchar)::hugeint * times")})""",
        f"""bitstring(bits, length) as system.main.bitstring(
            bits, {characters("bitstring", "length", "length")})""",
    ]
    macros += [
        f"""{name}(value, length, fill) as system.main.{name}(
            value, {characters(name, "length", "length")}, fill)"""
        for name in ("lpad", "rpad")
    ]
    for name in ("list_resize", "array_resize"):
        filled = "size * greatest(1, strlen(fill::varchar) // 8)"
        macros.append(
            f"""{name}(list, size) as system.main.{name}(list, {items(name, "size", "size")}),
            (list, size, fill) as system.main.{name}(list, {items(name, "size", filled)}, fill)"""
        )
    for name in ("range", "generate_series"):
        # The last argument is often a text that means something else: `'1 day'`.
        macros.append(
            f"""{name}(stop) as system.main.{name}({items(name, "stop", "stop")}),
            (start, stop) as system.main.{name}(
                {items(name, "start", "stop::hugeint - start")}, stop),
            (start, stop, step) as system.main.{name}(
                {items(name, "start", "meta.items(start, stop, step)")}, stop, step)"""
        )
    product = "strlen(a::varchar) * strlen(b::varchar)"
    for name in ("levenshtein", "editdist3", "damerau_levenshtein"):
        steps = _bounded(name, "b", product, STEPS_MAX, "steps of work")
        macros.append(f"{name}(a, b) as system.main.{name}(a, {steps})")
    for name in ("jaro_similarity", "jaro_winkler_similarity"):
        steps = _bounded(name, "b", product, STEPS_MAX, "steps of work")
        macros.append(
            f"""{name}(a, b) as system.main.{name}(a, {steps}),
            (a, b, least) as system.main.{name}(a, {steps}, least)"""
        )
    return macros
