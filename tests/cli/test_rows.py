"""`data` and `sql`."""

from __future__ import annotations

import json

import pyarrow.parquet

import livedb


def test_without_a_table_the_tables_are_listed(run, shop):
    assert run("data", shop).stdout.split() == ["table", "documents", "tasks", "5", "users", "1"]
    assert json.loads(run("data", shop, "--json").stdout) == [
        {"name": "tasks", "documents": 5},
        {"name": "users", "documents": 1},
    ]


def test_tables_of_livedbs_own_are_shown_by_name_and_not_listed(run, shop):
    run("env", "set", shop, "GREETING", "hello")
    assert [each["name"] for each in json.loads(run("data", shop, "--json").stdout)] == [
        "tasks",
        "users",
    ]
    assert "GREETING" in run("data", shop, "_environment_variables").stdout


def test_an_empty_workspace_says_so(run, tmp_path):
    livedb.open(tmp_path / "empty").close()
    result = run("data", tmp_path / "empty")
    assert (result.stdout, result.stderr) == ("", "There are no tables yet.\n")
    assert json.loads(run("data", tmp_path / "empty", "--json").stdout) == []


def test_documents_are_shown_newest_first_up_to_the_limit(run, shop):
    lines = run("data", shop, "tasks", "--limit", 2).stdout.splitlines()
    assert lines[0].split() == ["_id", "title", "n", "_creationTime"]
    assert ["task 4" in lines[1], "task 3" in lines[2], len(lines)] == [True, True, 3]
    lines = run("data", shop, "tasks", "--order", "asc", "--limit", 1).stdout.splitlines()
    assert "task 0" in lines[1]


def test_nothing_in_a_document_is_a_control_sequence(run, shop):
    for options in ([], ["--format", "jsonl"], ["--json"]):
        assert "\x1b" not in run("data", shop, "users", *options).stdout


def test_markup_in_a_document_is_text(run, tmp_path):
    with livedb.open(tmp_path / "work") as db:
        db["t"].insert({"x": "[bold]a[/bold] :smile:"})
    assert "[bold]a[/bold] :smile:" in run("data", tmp_path / "work", "t").stdout


def test_json_lines_can_be_imported_again(run, shop, tmp_path):
    text = run("data", shop, "users", "--format", "jsonl").stdout
    file = tmp_path / "users.jsonl"
    file.write_text(text)
    run("import", tmp_path / "other", file, "--table", "users")
    assert run("data", tmp_path / "other", "users", "--format", "jsonl").stdout == text
    assert json.loads(run("data", shop, "users", "--json").stdout) == [json.loads(text)]


def test_a_table_that_is_not_there_is_told_with_near_misses(run, shop):
    failed = run("data", shop, "task", code=1)
    assert failed.stderr == "error: There is no table 'task'. Did you mean 'tasks'?\n"


def test_a_table_without_documents_says_so(run, tmp_path):
    with livedb.open(tmp_path / "work") as db:
        db["t"].delete(db["t"].insert({}))
    assert run("data", tmp_path / "work", "t").stderr == "Table 't' has no documents.\n"
    assert json.loads(run("data", tmp_path / "work", "t", "--json").stdout) == []


def test_sql_gives_a_table_json_csv_and_parquet(run, shop, tmp_path):
    statement = "select title, n from tasks where n < 2 order by n"
    assert run("sql", shop, statement).stdout.split() == [
        "title",
        "n",
        "task",
        "0",
        "0",
        "task",
        "1",
        "1",
    ]
    assert json.loads(run("sql", shop, statement, "--json").stdout) == [
        {"title": "task 0", "n": 0},
        {"title": "task 1", "n": 1},
    ]
    assert json.loads(run("sql", shop, "select 1 where false", "--json").stdout) == []
    target = tmp_path / "rows.parquet"
    assert "wrote 2 rows" in run("sql", shop, statement, "--parquet", target).stdout
    assert pyarrow.parquet.read_table(target).num_rows == 2
    assert "exists" in run("sql", shop, statement, "--parquet", target, code=1).stderr
    run("sql", shop, statement, "--parquet", target, "--overwrite")
    run("sql", shop, statement, "--json", "--csv", code=2)


def test_sql_prints_csv(program, shop):
    done = program("sql", shop, "select title, n from tasks order by n limit 1", "--csv")
    assert (done.returncode, done.stdout) == (0, "title,n\ntask 0,0\n")


def test_sql_that_is_wrong_or_writes_is_refused(run, shop):
    assert run("sql", shop, "selec 1", code=1).stderr.startswith("error: ")
    run("sql", shop, "drop table tasks", code=1)
    assert "5" in run("data", shop).stdout
