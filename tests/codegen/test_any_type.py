"""Whatever types a workspace has, what is generated of them is TypeScript and Python."""

from __future__ import annotations

import random

import pytest

import livedb
from livedb import Int64, v
from livedb.codegen.api import Api
from livedb.codegen.python import python_files
from livedb.codegen.typescript import typescript_files
from tests.codegen.test_python import errors_of as python_errors
from tests.codegen.test_typescript import errors_of as typescript_errors
from tests.codegen.test_typescript import write

NAMES = ["a", "class", "from", "unit price", "a-b", "'\"\\", "items", "constructor", "0", "x" * 60]
"""Names of fields that a document may have; JSON and sources have trouble with some."""

LITERALS = ["", "*/", "`${x}`", "a\nb", "\u2028", 0, -3, 1.5, -0.5, True, False, Int64(-(2**63))]

PLAIN = [
    v.any, v.null, v.number, v.integer, v.int64, v.boolean, v.string, v.bytes, v.datetime,
]  # fmt: skip


def validator_of(draw, depth):
    """A type, drawn at random."""
    kind = draw.randrange(9 if depth else 4)
    if kind < 2:
        return draw.choice(PLAIN)()
    if kind == 2:
        return v.literal(draw.choice(LITERALS))
    if kind == 3:
        return v.id(draw.choice(["t1", "t2", "nowhere"]))
    if kind == 4:
        return v.array(validator_of(draw, depth - 1))
    if kind == 5:
        return v.record(v.string(), validator_of(draw, depth - 1))
    if kind == 6:
        return v.union(*(validator_of(draw, depth - 1) for _ in range(draw.randrange(4))))
    return object_of(draw, depth)


def object_of(draw, depth):
    fields = {}
    for name in draw.sample(NAMES, draw.randrange(4)):
        field = validator_of(draw, depth - 1)
        fields[name] = v.optional(field) if draw.random() < 0.3 else field
    return v.object(fields)


def api_of(draw):
    with livedb.open() as db:
        # A table's own fields are in its document's class; the odd ones are for inside.
        tables = {
            f"t{n}": livedb.define_table({"inner": object_of(draw, 3), "other": v.string()})
            for n in range(1, 5)
        }
        tables["t9"] = livedb.define_table(v.union(object_of(draw, 2), object_of(draw, 2)))
        db.push(livedb.define_schema(tables))
        for n in range(40):
            kind = draw.choice(["query", "mutation", "action"])
            decorate = getattr(db, kind)(
                name=draw.choice(["m:", "m/n:", "", "odd-name:"]) + f"f{n}",
                args={"given": validator_of(draw, 3), "more": v.optional(validator_of(draw, 2))},
                returns=validator_of(draw, 3),
                internal=draw.random() < 0.3,
            )
            decorate(lambda ctx, given, more=None: given)
        backend = db.backend
        catalog = [each.definition for each in backend.catalog()]
        return Api.of(map(backend.definition, backend.function_names()), catalog)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.oracle) for seed in range(1, 8))]
)
def test_any_types_become_typescript_and_python(tmp_path, seed):
    api = api_of(random.Random(seed))
    write(tmp_path, typescript_files(api) | python_files(api))
    model = 'import type { GenericDataModel } from "convex/server";\n'
    model += 'import type { DataModel } from "./dataModel";\n'
    model += "export const model: GenericDataModel = null as unknown as DataModel;\n"
    (tmp_path / "model.ts").write_text(model)
    (tmp_path / "script.py").write_text("import api\n\nprint(api.Api)\n")
    assert typescript_errors(tmp_path) == ""
    assert python_errors(tmp_path, "mypy") == []
    compile((tmp_path / "api.py").read_text(), "api.py", "exec")
