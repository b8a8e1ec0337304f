"""`db.files`, in this process and on a service."""

from __future__ import annotations

import hashlib
import io
import os
import urllib.request

import pytest

import livedb
from livedb.errors import (
    FunctionTypeError,
    InvalidIdError,
    InvalidValueError,
    LimitError,
    NonexistentDocumentError,
    PermissionDeniedError,
)

TEXT = bytes(range(256)) * 8


@pytest.mark.parametrize("kind", ["bytes", "path", "text path", "file", "empty"])
def test_a_file_is_put_and_opened(db, tmp_path, kind):
    text = b"" if kind == "empty" else TEXT
    path = tmp_path / "photo.png"
    path.write_bytes(text)
    if kind == "file":
        with path.open("rb") as source:
            file = db.files.put(source)
    else:
        file = db.files.put({"path": path, "text path": str(path)}.get(kind, text))
    with db.files.open(file) as opened:
        assert opened.read() == text
    [found] = db.files.list()
    assert found["_id"] == file
    assert found["size"] == len(text)
    assert found["sha256"] == hashlib.sha256(text).hexdigest()
    assert found.get("contentType") == ("image/png" if "path" in kind else None)


def test_an_open_file_is_read_from_anywhere(db):
    with db.files.open(db.files.put(TEXT)) as opened:
        assert opened.seekable()
        opened.seek(-10, os.SEEK_END)
        assert opened.read() == TEXT[-10:]
        opened.seek(300)
        assert opened.read(5) == TEXT[300:305]
        assert opened.tell() == 305
        assert opened.read(0) == b""


def test_a_large_file_travels_in_parts(db, tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        for block in range(9):
            file.write(bytes([block]) * (1 << 20))
    file = db.files.put(path)
    digest = hashlib.sha256()
    with db.files.open(file) as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert db.files.list()[0]["sha256"] == digest.hexdigest()


def test_a_deleted_file_is_gone(db):
    file = db.files.put(TEXT)
    assert db.files.url(file) is not None
    db.files.delete(file)
    assert db.files.url(file) is None
    assert db.files.list() == []
    for act in (db.files.open, db.files.delete):
        with pytest.raises(NonexistentDocumentError, match=file):
            act(file)


def test_its_url_gives_the_content(db):
    with urllib.request.urlopen(db.files.url(db.files.put(TEXT))) as opened:
        assert opened.read() == TEXT


def test_its_document_is_found_by_its_id_and_by_its_url(db):
    file = db.files.put(TEXT, content_type="image/png")
    found = db.files.get(file)
    assert (found["_id"], found["contentType"], found["size"]) == (file, "image/png", len(TEXT))
    assert found == db.files.get(db.files.url(file)) == db.files.list()[0]
    url = db.files.url(file)
    db.files.delete(file)
    assert db.files.get(file) is db.files.get(url) is None
    assert db.files.get("https://example.org/0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11") is None
    for no_file in ("", "file:///etc/passwd", db["notes"].insert({})):
        with pytest.raises(InvalidIdError):
            db.files.get(no_file)


def test_what_cannot_be_stored_leaves_nothing(db):
    for source in (7, None, io.StringIO("text")):
        with pytest.raises(InvalidValueError):
            db.files.put(source)
    with pytest.raises(InvalidValueError, match="SHA-256"):
        db.files.put(TEXT, sha256="0" * 64)
    with pytest.raises(InvalidValueError, match="media type"):
        db.files.put(TEXT, content_type="png")
    with pytest.raises(FileNotFoundError):
        db.files.put("there/is/none")
    assert db.files.list() == []


def test_a_thousand_files_are_listed_page_by_page(db):
    for number in range(1003):
        db.files.put(str(number).encode())
    assert [row["size"] for row in db.files] == [len(str(number)) for number in range(1003)]


def test_what_is_larger_than_a_file_may_be_is_refused(limited):
    db = limited(file_bytes_max=10)
    with pytest.raises(LimitError, match="file_bytes_max"):
        db.files.put(bytes(11))
    db.files.put(bytes(10))


@pytest.mark.local
def test_a_function_is_told_to_use_its_ctx(memory):
    @memory.mutation
    def put(ctx):
        memory.files.put(TEXT)

    with pytest.raises(FunctionTypeError, match=r"ctx\.storage"):
        put()


def test_a_member_reaches_files_by_functions_alone(tmp_path):
    with livedb.open(tmp_path / "w") as db, db.serve():
        invited = db.invite(name="ada", role="member")
        with livedb.connect(invited.url) as other:
            for act in (
                lambda: other.files.put(TEXT),
                other.files.list,
                lambda: other.files.url(db.files.put(TEXT)),
            ):
                with pytest.raises(PermissionDeniedError):
                    act()
