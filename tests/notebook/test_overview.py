"""What `db` and `db[name]` display: as a person reads it."""

from __future__ import annotations

from typing import Literal

import pytest

import livedb
from livedb import Id, MutationContext, QueryContext, v
from livedb.activity import COMMITS_MAX
from livedb.notebook.overview import LINES_MAX, type_text


@pytest.fixture
def db():
    with livedb.open() as database:
        yield database


def define_shop(db):
    @db.table("users")
    class User:
        name: str

    @db.table("tasks", indexes={"by_user": ["user", "rank"]}, unique={"one": ["title"]})
    class Task:
        title: str
        user: Id[User]
        status: Literal["todo", "done"] = "todo"
        rank: int | None = None

    @db.query
    def open_tasks(ctx: QueryContext, user: Id[User]) -> list[Task]:
        """Tasks of `user`.

        More of it.
        """
        return ctx.db.query(Task).with_index("by_user", user=user).collect()

    @db.mutation
    def add(ctx: MutationContext, title: str = "a.b", rank: int = 3) -> None: ...

    me = db["users"].insert({"name": "Ana"})
    db["tasks"].insert([{"title": f"task {n}", "user": me} for n in range(1_500)])
    return open_tasks, me


def text_of(displayed) -> str:
    return displayed._repr_mimebundle_()["text/plain"]


def html_of(displayed) -> str:
    return displayed._repr_mimebundle_()["text/html"]


def test_tables_functions_and_live_results_are_listed(db):
    open_tasks, me = define_shop(db)
    mine = open_tasks.live(user=me)
    others = livedb.open()
    elsewhere = others.live_sql("select 1")
    text = text_of(db)
    assert text.startswith("livedb in memory · commit 4\n\ntable")
    assert "tasks      1,500  title: str, user: Id[users], status: 'todo' | 'done'" in text
    assert "by_user(user, rank)" in text
    assert "query     open_tasks(user: Id[User]) -> list[Task]" in text
    assert "Tasks of `user`." in text
    assert "mutation  add(title: str = 'a.b', rank: int = 3) -> None" in text
    assert mine.title in text
    assert elsewhere.title not in text
    assert all(len(line) <= 110 for line in text.splitlines())
    for expected in (
        ">tasks<",
        ">1,500<",
        ">open_tasks(user: Id[User]) -&gt; list[Task]<",
        "Tasks",
    ):
        assert expected in html_of(db)
    assert elsewhere.title not in html_of(db)
    others.close()


def test_an_empty_workspace_says_what_to_do(db):
    assert "@db.table" in text_of(db)
    assert "commit 0" in html_of(db)


def test_a_failed_live_result_is_marked(db):
    @db.query
    def broken(ctx: QueryContext) -> int:
        raise ValueError("no")

    handle = broken.live()
    assert handle.error is not None
    assert "commit 0 · error" in text_of(db)


def test_a_closed_workspace_is_displayed_without_an_error(db):
    define_shop(db)
    tasks = db["tasks"]
    db.close()
    assert text_of(db) == "<livedb in memory: closed>"
    assert text_of(tasks) == repr(tasks) == "db['tasks'] (its workspace is closed)"


def test_names_that_look_like_markup_stay_text(db):
    @db.query(name="evil")
    def evil(ctx: QueryContext, text: str = "<img src=x onerror=alert(1)>") -> None:
        """<script>alert(1)</script>"""

    handle = evil.live(text="<b>")
    assert handle.error is None
    html = html_of(db)
    assert "<img" not in html
    assert "<script" not in html
    assert "<b>" not in html


def test_many_tables_are_bounded(db):
    for number in range(LINES_MAX + 7):
        db[f"table{number}"].insert({"n": number})
    assert "and 7 more" in text_of(db)
    assert html_of(db).count("<tr>") == LINES_MAX + 2 + COMMITS_MAX + 1


def test_a_table_displays_its_first_rows_and_how_many_there_are(db):
    define_shop(db)
    assert "first 10 of 1,500 rows · commit 4" in text_of(db["tasks"])
    assert html_of(db["tasks"]).count("<tr>") == 51
    assert "no such table yet" in text_of(db["nothing"])


def test_an_empty_table_displays_its_columns(db):
    define_shop(db)
    db["users"].delete(db["users"].first()._id)
    assert text_of(db["users"]).startswith("_id  name  _creationTime\nusers · 0 rows")


def test_a_table_without_a_schema_lists_the_fields_seen(db):
    db["loose"].insert({"b": 1, "a": "x"})
    (line,) = [line for line in text_of(db).splitlines() if line.startswith("loose")]
    assert {each.strip(",") for each in line.split()[2:]} == {"a", "b"}


def test_a_shared_notebook_does_not_tell_where_the_workspace_lay(tmp_path):
    with livedb.open(tmp_path / "shop.livedb") as database:
        assert text_of(database).startswith("livedb shop.livedb · commit 0")
        assert str(tmp_path) not in html_of(database)


def test_displaying_a_table_loads_none_of_it(db):
    db.load("numbers", [{"n": n} for n in range(5_000)])
    text_of(db)
    text_of(db["numbers"])
    assert db.statistics().row_memory_bytes < 10_000


@pytest.mark.parametrize(
    "validator,text",
    [
        (v.string(), "str"),
        (v.union(v.integer(), v.null()), "int | None"),
        (v.array(v.id("users")), "list[Id[users]]"),
        (v.record(v.string(), v.number()), "dict[str, float]"),
        (v.object({"a": v.int64()}), "{a: Int64}"),
        (v.any(), "any"),
    ],
    ids=str,
)
def test_a_type_reads_like_an_annotation(validator, text):
    assert type_text(validator) == text


def test_a_handle_in_a_plain_terminal_shows_its_rows(db):
    open_tasks, me = define_shop(db)
    mine = open_tasks.live(user=me)
    assert repr(mine).splitlines()[0].split() == [
        "_id",
        "title",
        "user",
        "status",
        "rank",
        "_creationTime",
    ]
    assert "first 10 of 1,500 rows" in repr(mine)

    @db.query
    def reading(ctx: QueryContext) -> str:
        return repr(mine)

    assert reading() == f"<live {mine.title}>"


def test_the_live_rows_of_a_table_have_the_types_of_its_schema(db):
    _, me = define_shop(db)
    live = db["tasks"].live()
    assert live.current().fields["user"] == "id"
    assert me not in repr(live)  # it is drawn short
    assert list(live.df.dtypes) == list(db["tasks"].df.dtypes)
