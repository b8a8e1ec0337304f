"""Large bodies, which are read past the HTTP parser: whole, whatever comes before and after."""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

import livedb
from livedb.errors import FileError
from livedb.files import contents, disk
from livedb.files.pieces import PIECE_BYTES
from livedb.service import storage_api
from livedb.service.bodies import TAKEN_BYTES_MIN, Body
from tests.service.serving import serving

LARGE = random.Random(11).randbytes(TAKEN_BYTES_MIN + 3 * PIECE_BYTES + 777)
ALIVE = b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.fixture
def served(tmp_path):
    with livedb.open(tmp_path / "work") as db:

        @db.mutation(name="url")
        def url(ctx):
            return ctx.storage.generate_upload_url()

        with serving(db) as service:
            yield service


@pytest.fixture
def taken(monkeypatch):
    """The bodies that were read past the parser."""
    made, make = [], Body.__init__

    def noting(self, *args):
        made.append(self)
        make(self, *args)

    monkeypatch.setattr(Body, "__init__", noting)
    return made


def head(served, size, *more):
    url = urlsplit(served.db.function("url")())
    lines = [f"POST {url.path}?{url.query} HTTP/1.1", "host: localhost", *more]
    if size is not None:
        lines.append(f"content-length: {size}")
    return "\r\n".join([*lines, "", ""]).encode()


def connect(served):
    return socket.create_connection(("127.0.0.1", served.port), timeout=60)


def answer(connection):
    """The status and the body of the next answer; nothing is read of the one behind it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        read = connection.recv(1)
        assert read, head
        head += read
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    return int(head.split()[1]), connection.recv(length, socket.MSG_WAITALL)


def stored(served, content):
    [file] = served.db.files.list()
    with served.db.files.open(file["_id"]) as opened:
        assert opened.read() == content
    assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("first", [0, 1, 100_000, len(LARGE)])
def test_a_large_body_is_stored_whole_and_the_connection_goes_on(served, taken, first):
    """However much of it comes with its head, and with the next request right behind it."""
    with connect(served) as connection:
        connection.sendall(head(served, len(LARGE)) + LARGE[:first])
        if first < len(LARGE):
            time.sleep(0.05)  # so that the head comes by itself, or nearly
        connection.sendall(LARGE[first:] + ALIVE)
        status, body = answer(connection)
        assert (status, list(json.loads(body))) == (200, ["storageId"])
        assert answer(connection)[0] == 200
        connection.sendall(head(served, 4) + b"next")
        assert answer(connection)[0] == 200
    assert len(taken) == (1 if first < len(LARGE) else len(taken))
    sizes = [file["size"] for file in served.db.files.list()]
    assert sizes == [len(LARGE), 4]
    served.db.files.delete(served.db.files.list()[1]["_id"])
    stored(served, LARGE)


def test_a_client_that_waits_to_be_told_to_go_on_is_told(served, taken):
    """As curl does for any file of a megabyte."""
    with connect(served) as connection:
        connection.sendall(head(served, len(LARGE), "expect: 100-continue"))
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(LARGE)
        assert answer(connection)[0] == 200
    assert len(taken) == 1
    stored(served, LARGE)


def test_a_body_of_no_known_size_is_read_as_it_comes(served, taken):
    with connect(served) as connection:
        connection.sendall(head(served, None, "transfer-encoding: chunked"))
        for at in range(0, len(LARGE), 1_000_000):
            part = LARGE[at : at + 1_000_000]
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n" + ALIVE)
        assert [answer(connection)[0] for _ in range(2)] == [200, 200]
    assert taken == []
    stored(served, LARGE)


def test_a_digest_is_right_although_it_takes_longer_than_what_comes(served, taken, monkeypatch):
    """The smallest case of a digest of memory that the next part had been written into."""

    class Slow:
        def __init__(self):
            self._hash = sha256()

        def update(self, piece):
            time.sleep(0.03)
            self._hash.update(piece)

        def hexdigest(self):
            return self._hash.hexdigest()

    sha256 = hashlib.sha256

    def slow_sha256(*begun):
        return sha256(*begun) if begun else Slow()

    with monkeypatch.context() as patch:
        patch.setattr(contents.hashlib, "sha256", slow_sha256)
        with connect(served) as connection:
            connection.sendall(head(served, len(LARGE)) + LARGE)
            assert answer(connection)[0] == 200
    stored(served, LARGE)


def test_a_disk_that_takes_no_more_is_told_and_the_connection_goes_on(served, taken, monkeypatch):
    def full(self, piece):
        raise FileError("no room", code="DiskFull")

    with monkeypatch.context() as patch, connect(served) as connection:
        patch.setattr(disk._DiskSink, "write", full)
        connection.sendall(head(served, len(LARGE)))
        sending = threading.Thread(target=connection.sendall, args=(LARGE + ALIVE,))
        sending.start()
        status, body = answer(connection)
        assert (status >= 500, json.loads(body)["code"]) == (True, "DiskFull")
        assert answer(connection)[0] == 200  # what was left of the body was passed over
        sending.join()
    assert len(taken) == 1
    assert served.db.files.list() == []
    assert list(served.db.backend.workspace.files.files.iterdir()) == []


def test_a_body_that_breaks_off_leaves_nothing(served, taken):
    folder = served.db.backend.workspace.files.files
    with connect(served) as connection:
        connection.sendall(head(served, len(LARGE)) + LARGE[: 2 * PIECE_BYTES])
        while not taken or not list(folder.iterdir()):
            time.sleep(0.01)
    while list(folder.iterdir()):
        time.sleep(0.01)
    assert served.db.files.list() == []


def test_a_body_that_falls_silent_is_refused_and_one_that_is_slow_is_not(
    served, taken, monkeypatch
):
    monkeypatch.setattr(storage_api, "SILENT_S_MAX", 0.5)
    with connect(served) as connection:
        connection.sendall(head(served, len(LARGE)))
        for at in range(0, 200_000, 20_000):  # longer than that for one piece, but never silent
            connection.sendall(LARGE[at : at + 20_000])
            time.sleep(0.1)
        connection.sendall(LARGE[200_000:])
        assert answer(connection)[0] == 200
    stored(served, LARGE)
    with connect(served) as connection:
        connection.sendall(head(served, len(LARGE)) + LARGE[: 2 * PIECE_BYTES])
        assert answer(connection)[0] == 408
    assert len(taken) == 2


def test_uploads_at_once_keep_apart(served, taken):
    bodies = [
        random.Random(each).randbytes(TAKEN_BYTES_MIN + each * 300_001) for each in range(1, 7)
    ]

    def send(content):
        with connect(served) as connection:
            connection.sendall(head(served, len(content)) + content)
            assert answer(connection)[0] == 200

    senders = [threading.Thread(target=send, args=(content,)) for content in bodies]
    for each in senders:
        each.start()
    for each in senders:
        each.join()
    expected = {hashlib.sha256(content).hexdigest() for content in bodies}
    assert {file["sha256"] for file in served.db.files.list()} == expected
    assert [wrong for _, wrong in served.db.backend.workspace.file_storage.damage() if wrong] == []
