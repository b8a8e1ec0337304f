"""The TypeScript that is generated: `tsc --strict` reads it with Convex's own types."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import livedb
from livedb.codegen.api import Api
from livedb.codegen.typescript import typescript_files
from tests.codegen import shop

ROOT = Path(__file__).parents[2]
TSC = ROOT / "widgets/node_modules/.bin/tsc"

PAGE = """\
import { ConvexHttpClient } from "convex/browser";
import { usePaginatedQuery, useMutation, useQuery } from "convex/react";
import type { GenericDataModel, DocumentByName, NamedIndex, NamedTableInfo } from "convex/server";
import { api, internal } from "./api";
import type { DataModel, Doc, Id } from "./dataModel";

declare const user: Id<"users">;
declare const task: Id<"tasks">;

export async function page(): Promise<void> {
  const tasks: Doc<"tasks">[] | undefined = useQuery(api.tasks.list, { user, limit: 3 });
  const title: string | undefined = tasks?.[0]?.title;
  const due: number | null | undefined = tasks?.[0]?.due;
  const size: bigint | number | undefined = tasks?.[0]?.size;
  const { results, loadMore } = usePaginatedQuery(api.tasks.page, {}, { initialNumItems: 3 });
  loadMore(results.length);
  const created: Id<"tasks"> = await useMutation(api.tasks.create)({
    title: "x", from: 1, tags: { a: 1 },
  });
  const client = new ConvexHttpClient("http://127.0.0.1");
  const done: { ok: boolean; class?: ArrayBuffer[] } =
    await client.action(api.tasks.deep.work, { what: 7n });
  const number: number = await client.query(api.tasks.deep, {});
  const any = await client.query(api.cells.bare, { value: 1 });
  const odd: "x" | "y" = await client.query(api["odd names"]["a-b"], {});
  void [title, due, size, created, done, number, any, odd, internal.tasks.deep.create];
}

export const model: GenericDataModel = null as unknown as DataModel;
export type Index = NamedIndex<NamedTableInfo<DataModel, "tasks">, "by_user">;
export const index: Index = ["user", "due", "_creationTime"];
export const place: DocumentByName<DataModel, "places"> = {
  _id: null as unknown as Id<"places">, _creationTime: 1, kind: "area", "unit price": 3,
};

export async function mistakes(): Promise<void> {
  // @ts-expect-error  an id of another table
  useQuery(api.tasks.list, { user: task });
  // @ts-expect-error  no such argument
  useQuery(api.tasks.list, { user, most: 3 });
  // @ts-expect-error  no such function
  useQuery(api.tasks.lists, { user });
  // @ts-expect-error  a mutation is no query
  useQuery(api.tasks.create, { title: "x", from: 1, tags: {} });
  // @ts-expect-error  internal functions are not public ones
  void api.tasks.deep.create;
  // @ts-expect-error  no such field
  void useQuery(api.tasks.list, { user })?.[0]?.done;
  // @ts-expect-error  no such literal
  await new ConvexHttpClient("").action(api.tasks.deep.work, { what: "b" });
}
"""

SETTINGS = {
    "compilerOptions": {
        "strict": True,
        "exactOptionalPropertyTypes": True,
        "noUncheckedIndexedAccess": True,
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "lib": ["es2023", "dom"],
        "types": [],
        "noEmit": True,
        "skipLibCheck": True,
    },
    "include": ["*.ts"],
}


def errors_of(folder):
    """What tsc finds wrong, with Convex's package as a page has it."""
    if not TSC.exists():
        pytest.fail("the npm packages of widgets are not there: run `make setup`")
    (folder / "tsconfig.json").write_text(json.dumps(SETTINGS))
    (folder / "node_modules").symlink_to(ROOT / "tests/interop/node_modules")
    node = shutil.which(
        "node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    environment = os.environ | {"PATH": f"{Path(node).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [str(TSC), "--project", "."], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def write(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture
def api():
    with livedb.open() as db:
        shop.define(db)
        backend = db.backend
        names = backend.function_names()
        tables = [each.definition for each in backend.catalog()]
        yield Api.of(map(backend.definition, names), tables)


def test_a_page_is_checked_against_the_functions_and_tables(api, tmp_path):
    write(tmp_path, typescript_files(api))
    (tmp_path / "page.ts").write_text(PAGE)
    assert errors_of(tmp_path) == ""


def test_a_workspace_without_anything_is_typescript_as_well(tmp_path):
    write(tmp_path, typescript_files(Api.of((), ())))
    assert errors_of(tmp_path) == ""


def test_names_and_texts_of_any_kind_stay_what_they_are(api):
    text = typescript_files(api)["api.d.ts"]
    assert '"odd names": {' in text
    assert json.dumps("a\"'\\\n") in text
    assert "deep: FunctionReference<" in text  # a function and a module of one name
    assert ">" in text.partition("deep: ")[2].partition(" & {")[0]
