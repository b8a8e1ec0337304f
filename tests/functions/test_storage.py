"""`ctx.storage` in queries, mutations and actions: documents, contents, URLs."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from pathlib import Path

import pytest

import livedb
from livedb.errors import (
    InvalidIdError,
    InvalidValueError,
    LimitError,
    LivedbError,
    NonexistentDocumentError,
    ReadOnlyError,
)

TEXT = b"what a file holds"


@pytest.fixture
def stored():
    """A workspace in this process with functions that store, look and delete."""
    with livedb.open() as db:
        define(db)
        yield db


def define(memory):

    @memory.action
    def store(ctx, content, **options):
        return ctx.storage.store(content, **options)

    @memory.action
    def read(ctx, file: str):
        opened = ctx.storage.get(file)
        if opened is None:
            return None
        with opened:
            return opened.read()

    @memory.query
    def look(ctx, file: str):
        return ctx.storage.get_metadata(file)

    @memory.query
    def url(ctx, file: str):
        return ctx.storage.get_url(file)

    @memory.query
    def files(ctx):
        return ctx.db.system.query("_storage").collect()

    @memory.mutation
    def delete(ctx, file: str, *, fails: bool = False):
        ctx.storage.delete(file)
        assert ctx.storage.get_url(file) is None
        if fails:
            raise livedb.ApplicationError("no")


def call(db, name, **args):
    return db.function(name)(**args)


def store(db, content=TEXT, **options):
    @db.action
    def store_this(ctx):
        return ctx.storage.store(content, **options)

    return store_this()


def contents(db):
    return sorted(path.name for path in db.backend.workspace.files.files.iterdir())


def test_an_action_stores_and_reads_and_everybody_sees_the_document(stored):
    file = store(stored, content_type="text/plain")
    assert call(stored, "read", file=file) == TEXT
    found = call(stored, "look", file=file)
    assert found["contentType"] == "text/plain"
    assert found["size"] == len(TEXT)
    assert found["sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert set(found) == {"_id", "_creationTime", "contentType", "size", "sha256"}
    assert call(stored, "files") == [found]
    assert set(call(stored, "look", file=store(stored))) == {
        "_id",
        "_creationTime",
        "size",
        "sha256",
    }


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO, "path"])
def test_a_file_is_stored_from_bytes_a_path_or_a_file(stored, tmp_path, kind):
    path = tmp_path / "content"
    path.write_bytes(TEXT)
    source = path if kind == "path" else kind(TEXT)
    assert call(stored, "read", file=store(stored, source)) == TEXT


def test_what_is_no_content_is_refused_and_leaves_nothing(stored):
    for source in (5, None, io.StringIO("text")):
        with pytest.raises(InvalidValueError):
            store(stored, source)
    assert contents(stored) == []
    assert call(stored, "files") == []


def test_a_wrong_digest_or_too_large_a_content_leaves_nothing():
    with livedb.open(limits=livedb.Limits(file_bytes_max=len(TEXT))) as db:
        with pytest.raises(InvalidValueError, match="SHA-256"):
            store(db, sha256="0" * 64)
        with pytest.raises(LimitError, match="17 bytes that a file"):
            store(db, TEXT + b"!")
        assert contents(db) == []
        store(db, sha256=hashlib.sha256(TEXT).hexdigest().upper())
        assert len(contents(db)) == 1


@pytest.mark.parametrize("kind", [5, "png", "image/png\r\nX: 1", "a/" + "b" * 300, "text/€"])
def test_a_media_type_that_cannot_stand_in_a_header_is_refused(stored, kind):
    with pytest.raises(InvalidValueError, match="media type"):
        store(stored, content_type=kind)
    assert contents(stored) == []


def test_equal_contents_are_two_files(stored):
    first, second = store(stored), store(stored)
    assert first != second
    call(stored, "delete", file=first)
    assert call(stored, "read", file=first) is None
    assert call(stored, "read", file=second) == TEXT


def test_a_deletion_is_part_of_its_transaction(stored):
    file = store(stored)
    with pytest.raises(livedb.ApplicationError):
        call(stored, "delete", file=file, fails=True)
    assert call(stored, "read", file=file) == TEXT
    call(stored, "delete", file=file)
    assert call(stored, "look", file=file) is None
    assert call(stored, "url", file=file) is None
    with pytest.raises(NonexistentDocumentError, match=f"storage id {file} not found"):
        call(stored, "delete", file=file)


def test_a_live_query_follows_files(stored):
    files, url = stored.function("files"), stored.function("url")
    file = store(stored)
    live, live_url = files.live(), url.live(file=file)
    assert len(live.value) == 1
    assert live_url.value is not None
    call(stored, "delete", file=file)
    assert live.value == []
    assert live_url.value is None


def test_without_a_service_the_url_is_of_this_machine_and_no_upload_url_can_be(stored):
    file = store(stored)
    with urllib.request.urlopen(call(stored, "url", file=file)) as opened:
        assert opened.read() == TEXT

    @stored.mutation
    def ask(ctx):
        return ctx.storage.generate_upload_url()

    with pytest.raises(LivedbError, match=r"db\.serve") as caught:
        ask()
    assert caught.value.code == "NotServed"


@pytest.mark.parametrize(
    "most, code", [(10.0, "NotServed"), (10.5, "InvalidValue"), (-1, "InvalidValue")]
)
def test_a_number_of_the_wire_is_a_number_of_bytes(most, code):
    with livedb.open() as db:

        @db.mutation
        def ask(ctx):
            return ctx.storage.generate_upload_url(bytes_max=most)

        with pytest.raises(LivedbError) as caught:
            ask()
    assert caught.value.code == code


@pytest.mark.parametrize("verb", ["store", "get"])
def test_a_mutation_that_wants_the_bytes_of_a_file_is_told_of_actions(verb):
    with livedb.open() as db:

        @db.mutation
        def wrong(ctx):
            return getattr(ctx.storage, verb)(b"bytes")

        with pytest.raises(livedb.LivedbError, match=r"action.*db\.files.*URL"):
            wrong()


def test_a_query_only_reads_files(stored):
    @stored.query
    def both(ctx, what: str):
        return getattr(ctx.storage, what)()

    for what in ("delete", "generate_upload_url"):
        with pytest.raises(ReadOnlyError, match="A query cannot"):
            both(what=what)


def test_an_id_of_another_table_is_no_files(stored):
    @stored.mutation
    def add(ctx):
        return ctx.db.insert("a", {})

    with pytest.raises(InvalidIdError, match="_storage"):
        call(stored, "look", file=add())
    with pytest.raises(InvalidIdError):
        call(stored, "url", file="../../etc/passwd")


def test_neither_sql_nor_the_database_shows_under_which_name_a_content_lies(stored):
    store(stored)
    for table in ("_storage", "_files", "_uploads"):
        with pytest.raises(LivedbError):
            stored.sql(f"select * from {table}").df  # noqa: B018
    assert list(stored) == []

    @stored.query
    def peek(ctx):
        return ctx.db.system.query("_files").collect()

    with pytest.raises(ReadOnlyError, match="no system table"):
        peek()


def test_an_async_action_awaits_its_storage(stored):
    @stored.action
    async def work(ctx):
        file = await ctx.storage.store(TEXT)
        with await ctx.storage.get(file) as opened:
            found = opened.read()
        found_size = (await ctx.storage.get_metadata(file))["size"]
        url = await ctx.storage.get_url(file)
        await ctx.storage.delete(file)
        return found, found_size, url is not None, await ctx.storage.get(file)

    assert work() == [TEXT, len(TEXT), True, None]


def test_files_are_there_when_the_workspace_is_opened_again(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        file = store(db, content_type="text/plain")
    with livedb.open(tmp_path / "w") as db:

        @db.action
        def read(ctx):
            with ctx.storage.get(file) as opened:
                return opened.read(), ctx.storage.get_metadata(file)["contentType"]

        assert read() == [TEXT, "text/plain"]


def test_a_text_is_no_content_since_it_may_be_anybodys_and_would_be_a_path(db, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("of this machine")

    @db.action
    def draw(ctx, text: str):
        return ctx.storage.store(text)

    @db.action
    async def draw_async(ctx, text: str):
        return await ctx.storage.store(text)

    @db.action
    def keep(ctx, path: str):
        return ctx.storage.store(Path(path))

    for each in (draw, draw_async):
        with pytest.raises(InvalidValueError, match=r"takes no str.*text.encode\(\)"):
            each(text=str(secret))
    with db.files.open(keep(path=str(secret))) as kept:
        assert kept.read() == b"of this machine"


def test_the_id_of_a_stored_file_is_a_plain_id_in_functions(db):
    stored = db.files.put(b"x")
    assert type(stored) is type(livedb.Id("x")) is str

    @db.query
    def url(ctx):
        return ctx.storage.get_url(stored), ctx.storage.get_metadata(stored)["size"]

    assert url()[1] == 1
