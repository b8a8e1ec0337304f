"""Files of the workspace that a page asks for: what it is sent, and what it is not."""

from __future__ import annotations

import pytest

import livedb
from livedb.auth.access import Role
from livedb.errors import (
    InvalidValueError,
    LimitError,
    LivedbError,
    NonexistentDocumentError,
    PermissionDeniedError,
)
from livedb.notebook import stored_files
from livedb.notebook.downloads import PART_BYTES
from livedb.notebook.stored_files import stored_file
from tests.conftest import connected

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20


def sent(db, name, *, is_picture):
    file = db["notes"].live().file(name, is_picture=is_picture)
    parts = list(file.parts)
    content = b"".join(parts)
    assert (len(content), len(parts)) == (file.size, file.part_count)
    return file.name, content


def test_a_picture_is_sent_by_its_id_and_by_its_url(db):
    photo = db.files.put(PNG)
    for name in (photo, db.files.url(photo)):
        assert sent(db, name, is_picture=True) == (f"{photo}.png", PNG)


def test_a_file_is_sent_in_parts_and_named_by_its_type(db):
    content = bytes(range(256)) * (PART_BYTES // 256) + b"rest"
    file = db.files.put(content, content_type="text/csv")
    assert sent(db, file, is_picture=False) == (f"{file}.csv", content)
    empty = db.files.put(b"")
    assert sent(db, empty, is_picture=False) == (empty, b"")


@pytest.mark.parametrize(
    "content",
    [b"", b"<svg onload=alert(1)>", b"GIF8", b"\x00" * 100],
    ids=lambda each: repr(each)[:12],
)
def test_what_does_not_begin_as_a_picture_is_sent_as_none(db, content):
    file = db.files.put(content, content_type="image/png")  # whatever somebody says that it is
    with pytest.raises(InvalidValueError, match="no PNG, JPEG, GIF or WebP"):
        sent(db, file, is_picture=True)
    assert sent(db, file, is_picture=False) == (f"{file}.png", content)


def test_what_is_too_large_for_a_page_says_where_to_read_it(db, monkeypatch):
    monkeypatch.setattr(stored_files, "PICTURE_BYTES_MAX", len(PNG) - 1)
    photo = db.files.put(PNG)
    with pytest.raises(LimitError, match=rf"db\.files\.open\('{photo}'\)"):
        sent(db, photo, is_picture=True)


def test_no_other_file_of_the_machine_is_sent(db, tmp_path):
    secret = tmp_path / "0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11"
    secret.write_bytes(PNG)
    with pytest.raises(NonexistentDocumentError):
        sent(db, secret.as_uri(), is_picture=True)
    gone = db.files.put(PNG)
    url = db.files.url(gone)
    db.files.delete(gone)
    for name in (gone, url):
        with pytest.raises(NonexistentDocumentError, match="no such file"):
            sent(db, name, is_picture=True)
    for name in ("", "/etc/passwd", "file:///etc/passwd", db["notes"].insert({})):
        with pytest.raises(LivedbError):
            sent(db, name, is_picture=True)


def test_a_page_gets_no_file_that_its_caller_may_not_read(tmp_path):
    with livedb.open(tmp_path / "work") as served:

        @served.query
        def photos(ctx):
            return [{"photo": each["photo"]} for each in ctx.db.query("notes")]

        photo = served.files.put(PNG)
        served["notes"].insert({"photo": photo})
        with connected(served, Role.MEMBER) as db, pytest.raises(PermissionDeniedError):
            db.function("photos").live().file(photo, is_picture=True)


def test_a_table_that_is_closed_reads_no_files(db):
    table = db["notes"].live().widget
    table.close()
    with pytest.raises(NonexistentDocumentError, match="closed"):
        table.source.file("x", is_picture=True)


def test_a_file_that_is_not_read_to_its_end_is_closed(tmp_path):
    with livedb.open(tmp_path / "work") as db:
        file = stored_file(db.backend, db.files.put(PNG), is_picture=True)
        next(file.parts)
        file.parts.close()  # a ResourceWarning is an error here
