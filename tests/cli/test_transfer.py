"""`import` and `export`."""

from __future__ import annotations

import json
import zipfile

import pytest

import livedb


def counts(run, path):
    return {
        each["name"]: each["documents"] for each in json.loads(run("data", path, "--json").stdout)
    }


def test_a_zip_goes_out_and_in(run, shop, tmp_path):
    done = json.loads(run("export", shop, "--path", tmp_path, "--json").stdout)
    ((file, rows),) = done["files"].items()
    assert (done["commit"], rows) == (2, 6)
    assert "snapshot_" in file
    other = tmp_path / "other"
    text = run("import", other, file).stdout
    assert text == "tasks: 5 rows\nusers: 1 row\nimported as commit 1\n"
    for table in ("tasks", "users"):
        assert (
            run("data", other, table, "--format", "jsonl").stdout.replace(".0,", ",")
            == run("data", shop, table, "--format", "jsonl").stdout
        )


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_tables_go_out_as_files_and_in_again(run, shop, tmp_path, form):
    out = tmp_path / "out"
    out.mkdir()
    run("export", shop, "--path", out, "--format", form)
    assert sorted(each.name for each in out.iterdir()) == [f"tasks.{form}", f"users.{form}"]
    assert "exists" in run("export", shop, "--path", out, "--format", form, code=1).stderr
    run("export", shop, "--path", out, "--format", form, "--overwrite")
    other = tmp_path / "other"
    run("import", other, out / f"tasks.{form}", "--table", "tasks")
    assert (
        run("data", other, "tasks", "--format", "jsonl").stdout
        == run("data", shop, "tasks", "--format", "jsonl").stdout
    )


def test_a_refusal_names_options_and_no_arguments_of_python(run, shop, tmp_path):
    out = tmp_path / "tasks.jsonl"
    export = ("export", shop, "--path", out, "--table", "tasks")
    run(*export)
    assert run(*export, code=1).stderr.endswith("exists; pass --overwrite to replace it.\n")
    again = ("import", shop, out, "--table", "tasks")
    assert "append to it with --append, or --replace it" in run(*again, code=1).stderr
    other = tmp_path / "other"
    with livedb.open(other) as db:
        db["first"].insert({"a": 1})
        db["tasks"].insert({"title": "theirs"})
    elsewhere = run("import", other, out, "--table", "tasks", "--append", code=1)
    assert "replace the table, or import it with --ids new" in elsewhere.stderr
    run("import", other, out, "--table", "tasks", "--append", "--ids", "new")


def test_a_zip_keeps_its_ids(run, shop, tmp_path):
    run("export", shop, "--path", tmp_path / "x.zip")
    refused = run("import", tmp_path / "other", tmp_path / "x.zip", "--ids", "new", code=2)
    assert "a snapshot zip keeps its ids" in " ".join(refused.stderr.split())


def test_one_table_goes_to_one_file(run, shop, tmp_path):
    target = tmp_path / "x.parquet"
    assert "wrote 5 rows" in run("export", shop, "--path", target, "--table", "tasks").stdout
    many = tmp_path / "y.parquet"
    assert "2 tables need a folder" in run("export", shop, "--path", many, code=1).stderr
    assert (
        "no table 'taks'" in run("export", shop, "--path", many, "--table", "taks", code=1).stderr
    )
    part = tmp_path / "z.zip"
    run("export", shop, "--path", part, "--table", "tasks")
    with zipfile.ZipFile(part) as opened:
        assert "users/documents.jsonl" not in opened.namelist()


@pytest.mark.parametrize("form", [[], ["--format", "csv", "--table", "tasks"]])
def test_a_folder_to_export_to_must_be_there(run, shop, tmp_path, form):
    failed = run("export", shop, "--path", f"{tmp_path}/out/", *form, code=1)
    assert f"There is no folder '{tmp_path}/out/'" in failed.stderr
    assert not (tmp_path / "out").exists()


def test_fields_that_sql_has_no_column_for_are_told(run, tmp_path):
    with livedb.open(tmp_path / "work") as db:
        db["t"].insert({"a": 1, "A": 2})
    done = run("export", tmp_path / "work", "--path", tmp_path / "t.csv")
    assert done.stderr.startswith("t is without 1 field: SQL has no columns")
    assert run("export", tmp_path / "work", "--path", tmp_path / "t.zip").stderr == ""


def test_modes_of_a_file(run, shop, tmp_path):
    file = tmp_path / "more.jsonl"
    file.write_text('{"title": "new", "n": 9}\n')
    table = ["--table", "tasks"]
    refused = run("import", shop, file, *table, code=1)
    assert (
        "'tasks' has documents already; append to it with --append, or --replace it"
        in refused.stderr
    )
    run("import", shop, file, *table, "--append")
    assert counts(run, shop) == {"tasks": 6, "users": 1}
    run("import", shop, file, *table, "--replace", "--yes")
    assert counts(run, shop) == {"tasks": 1, "users": 1}
    run("import", shop, file, *table, "--replace-all", "--yes")
    assert counts(run, shop) == {"tasks": 1, "users": 0}
    run("import", shop, file, *table, "--append", "--replace", code=2)


def test_ids_are_kept_or_new(run, shop, tmp_path):
    file = tmp_path / "tasks.jsonl"
    file.write_text(run("data", shop, "tasks", "--format", "jsonl").stdout)
    assert "already" in run("import", shop, file, "--table", "tasks", "--append", code=1).stderr
    run("import", shop, file, "--table", "tasks", "--append", "--ids", "new")
    assert counts(run, shop)["tasks"] == 10
    run("import", shop, file, "--table", "copies", "--ids", "new")
    assert counts(run, shop)["copies"] == 5


def test_a_json_array_is_imported(run, tmp_path):
    file = tmp_path / "rows.json"
    file.write_text('[{"n": 1}, {"n": {"$int64": "7"}}]')
    assert json.loads(run("import", tmp_path / "work", file, "--table", "t", "--json").stdout) == {
        "commit": 1,
        "rows": {"t": 2},
        "notes": [],
    }
    for text in ('{"n": 1}', "[1, 2", "[1]"):
        file.write_text(text)
        run("import", tmp_path / "work", file, "--table", "u", code=1)


def test_what_cannot_be_is_asked_for_wrongly(run, shop, tmp_path):
    run("import", shop, tmp_path / "x.zip", "--table", "t", code=2)
    run("import", shop, tmp_path / "x.csv", code=2)
    run("import", shop, tmp_path / "x.what", "--table", "t", code=2)
    assert "no file" in run("import", shop, tmp_path / "x.csv", "--table", "t", code=1).stderr
    (tmp_path / "x.zip").write_bytes(b"no zip")
    assert "is no zip" in run("import", shop, tmp_path / "x.zip", code=1).stderr
    assert counts(run, shop) == {"tasks": 5, "users": 1}


def test_csv_options_reach_the_reader(run, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("at,n\n2026-01-02 03:04:05,NA\n")
    work = tmp_path / "work"
    assert "zone" in run("import", work, file, "--table", "t", code=1).stderr
    run("import", work, file, "--table", "t", "--tz", "UTC", "--null", "NA")
    with livedb.open(work) as db:
        (row,) = db["t"].collect()
    assert (row["n"], row["at"].year) == (None, 2026)


def test_a_file_that_is_not_there_leaves_no_new_workspace(run, tmp_path):
    for file, *options in (["gone.csv", "--table", "t"], ["gone.zip"]):
        said = run("import", tmp_path / "new", tmp_path / file, *options, code=1).stderr
        assert "There is no file" in said
        assert file in said
    assert not (tmp_path / "new").exists()


def test_a_failed_import_says_why_and_changes_nothing(run, shop, tmp_path):
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("tasks/documents.jsonl", '{"n": 1}\n{nope\n')
    failed = run("import", shop, file, "--replace", "--yes", code=1)
    assert "tasks/documents.jsonl, line 2" in failed.stderr
    assert counts(run, shop) == {"tasks": 5, "users": 1}


def test_a_zip_goes_into_a_table_with_search_indexes(run, tmp_path):
    made = livedb.define_table().search_index("by_text", "body")
    schema = livedb.define_schema({"notes": made.vector_index("by_v", "at", dimensions=2)})
    one, two = {"body": "one", "at": [1.0, 0.0]}, {"body": "two", "at": [0.0, 1.0]}
    with livedb.open(tmp_path / "from") as db:
        db.push(schema)
        db["notes"].insert([one, two])
    done = json.loads(run("export", tmp_path / "from", "--path", tmp_path, "--json").stdout)
    with livedb.open(tmp_path / "to") as db:
        db.push(schema)
        db["notes"].insert(one)
        assert len(db["notes"].with_search_index("by_text", "one").collect()) == 1
    run("import", tmp_path / "to", next(iter(done["files"])), "--replace")
    with livedb.open(tmp_path / "to") as db:
        assert len(db["notes"].with_search_index("by_text", "one two").collect()) == 2
        assert db["notes"].with_vector_index("by_v", [0, 1], limit=1).first()["body"] == "two"
