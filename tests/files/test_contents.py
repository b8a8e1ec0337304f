"""Contents: the same contract wherever they lie, and what only an object store can do to them."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import socket
import threading
from contextlib import ExitStack, contextmanager

import obstore
import pytest

from livedb.clock import SystemClock
from livedb.errors import DamagedError, FileError, InvalidValueError, LimitError
from livedb.files import disk, objects
from livedb.files.contents import Contents
from livedb.files.disk import Disk
from livedb.files.objects import Objects, checked_url
from livedb.files.pieces import PIECE_BYTES, pieces_of
from livedb.functions.storage import Content
from tests.files.small_s3 import BUCKET, SECRET, serving, small_s3
from tests.files.stores import EMULATORS, STORES
from tests.waiting import until

TEXT = b"what a file holds"
LARGE = random.Random(7).randbytes(20 << 20)
"""More than two parts of an upload."""

KINDS = ["disk", "folder", "memory", *STORES, *EMULATORS]


@pytest.fixture
def environment(monkeypatch):
    for name in os.environ:
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    return lambda values: [monkeypatch.setenv(*each) for each in values.items()]


@pytest.fixture
def s3(environment):
    with small_s3() as server:
        environment(server.environment)
        yield server


@pytest.fixture(params=STORES)
def scheme(request):
    return request.param


@pytest.fixture
def server(scheme, environment):
    """A store of each scheme."""
    with serving(STORES[scheme]()) as server:
        environment(server.environment)
        yield server


@pytest.fixture
def in_store(server, scheme, tmp_path):
    return contents_at(f"{scheme}://{BUCKET}/p", tmp_path)


def contents_at(url, tmp_path):
    return Contents(Objects(url, tmp_path / "n"), SystemClock(), bytes_max=64 << 20)


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def place_of(kind, tmp_path, request):
    if kind == "disk":
        (tmp_path / "files").mkdir()
        return Disk(tmp_path / "files", is_durable=True)
    enter = request.getfixturevalue("stack").enter_context
    environment = request.getfixturevalue("environment")
    if kind in STORES:
        environment(enter(serving(STORES[kind]())).environment)
    if kind in EMULATORS:
        environment(enter(EMULATORS[kind]()))
    url = {"folder": (tmp_path / "store").as_uri(), "memory": "memory:///"}
    return Objects(url.get(kind, f"{kind[:2]}://{BUCKET}/some/prefix"), tmp_path / "names")


@pytest.fixture(params=KINDS)
def contents(request, tmp_path):
    return Contents(place_of(request.param, tmp_path, request), SystemClock(), bytes_max=64 << 20)


@pytest.fixture
def in_s3(s3, tmp_path):
    return contents_at(f"s3://{BUCKET}/p", tmp_path)


def put(contents, data, *, bytes_max=None, sha256=None):
    with contents.incoming(bytes_max=bytes_max) as incoming:
        for start in range(0, len(data), 1 << 20):
            incoming.write(data[start : start + (1 << 20)])
        return incoming.finish(sha256)


def read(contents, name):
    with contents.open(name) as file:
        return file.read()


def overwrite(place, name, data):
    if isinstance(place, Disk):
        place.path(name).write_bytes(data)
    else:
        obstore.put(place.store, name, data)


# -- the contract ----------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", TEXT, LARGE], ids=["empty", "small", "parts"])
def test_a_content_is_what_was_written_with_its_size_and_digest(contents, data):
    content = put(contents, data)
    assert (content.size, content.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert read(contents, content.name) == data
    assert contents.damage(content) is None


def test_a_content_is_read_from_anywhere_in_it(contents):
    content = put(contents, LARGE)
    chance = random.Random(11)
    with contents.open(content.name) as file:
        assert file.seek(0, os.SEEK_END) == len(LARGE)
        assert file.read() == b""
        for _ in range(30):
            start, length = chance.randrange(len(LARGE)), chance.randrange(700_000)
            assert file.seek(start) == start
            assert file.read(length) == LARGE[start : start + length]
            assert file.tell() == min(start + length, len(LARGE))
        file.seek(-5, os.SEEK_END)
        assert file.read(100) == LARGE[-5:]
        file.seek(len(LARGE) + 10)
        assert file.read(1) == b""


def test_a_damage_check_gives_the_content_on_piece_by_piece(contents):
    content = put(contents, LARGE)
    pieces = []
    assert contents.damage(content, lambda piece: pieces.append(bytes(piece))) is None
    assert b"".join(pieces) == LARGE
    assert max(map(len, pieces)) <= 1 << 20


def test_a_content_that_is_too_large_leaves_nothing(contents):
    with pytest.raises(LimitError):
        put(contents, LARGE, bytes_max=len(LARGE) - 1)
    assert contents.place.names() == []
    put(contents, LARGE, bytes_max=len(LARGE))


def test_a_content_of_another_digest_leaves_nothing(contents):
    with pytest.raises(InvalidValueError, match="nothing was stored"):
        put(contents, TEXT, sha256="0" * 64)
    assert contents.place.names() == []


@pytest.mark.parametrize("data", [TEXT, LARGE], ids=["small", "parts"])
@pytest.mark.parametrize("is_raised", [True, False])
def test_an_upload_that_is_broken_off_leaves_nothing(contents, data, is_raised):
    def broken_off():
        with contents.incoming() as incoming:
            incoming.write(data)
            if is_raised:
                raise ConnectionError
        return incoming.name

    if is_raised:
        with pytest.raises(ConnectionError):
            broken_off()
    else:
        with pytest.raises(DamagedError):
            contents.open(broken_off())
    assert contents.place.names() == []


def test_a_content_whose_document_was_refused_is_removed(contents):
    finished = []

    def refused():
        with contents.incoming() as incoming:
            incoming.write(TEXT)
            finished.append(incoming.finish().name)
            raise LimitError("its document is refused")

    with pytest.raises(LimitError, match="its document"):
        refused()
    assert contents.place.names() == []
    with pytest.raises(DamagedError):
        contents.open(finished[0])


def test_what_is_under_way_is_no_candidate_and_what_nobody_names_is_one(contents):
    with contents.incoming() as incoming:
        assert contents.place.names() == [incoming.name]
        assert contents.candidates() == []
        incoming.write(TEXT)
        incoming.finish()
        assert contents.candidates() == []
    assert contents.candidates() == [incoming.name]


def test_contents_are_removed_and_one_that_is_gone_is_none_to_remove(contents):
    names = [put(contents, TEXT).name for _ in range(3)]
    contents.place.remove(["0" * 36, *names[:2]])
    contents.place.remove(names[:1])
    assert contents.place.names() == names[2:]
    assert read(contents, names[2]) == TEXT
    with pytest.raises(DamagedError, match="backup"):
        contents.open(names[0])


DAMAGE = [(TEXT[:-1], "16 bytes instead of 17"), (TEXT[::-1], "not what was stored")]


@pytest.mark.parametrize("other, said", DAMAGE)
def test_a_content_that_is_another_is_found(contents, other, said):
    content = put(contents, TEXT)
    overwrite(contents.place, content.name, other)
    assert said in contents.damage(content)


def test_a_missing_content_is_found_and_its_address_is_said(contents):
    content = Content("0" * 36, hashlib.sha256(TEXT).hexdigest(), len(TEXT))
    assert contents.damage(content) == "it is missing"
    with pytest.raises(DamagedError, match="0" * 36) as raised:
        contents.open(content.name)
    assert raised.value.code == "ContentGone"


def test_contents_are_put_read_and_removed_at_once(contents):
    failed = []

    def work(number):
        try:
            for turn in range(6):
                data = f"{number} {turn}".encode() * 1000
                content = put(contents, data)
                assert read(contents, content.name) == data
                if turn % 2:
                    contents.place.remove([content.name])
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(contents.candidates()) == 18


def test_a_copy_has_every_finished_content(contents, tmp_path):
    kept = {put(contents, data).name: data for data in (TEXT, LARGE)}
    target = tmp_path / "copy"
    target.mkdir()
    with contents.incoming() as incoming:
        incoming.write(TEXT)
        contents.place.copy(target)
    assert {file.name: file.read_bytes() for file in target.iterdir()} == kept


def test_what_somebody_else_put_into_a_store_is_no_candidate(request, tmp_path):
    place = place_of("folder", tmp_path, request)
    (tmp_path / "store" / "a photo.jpg").write_bytes(TEXT)
    other = Contents(Objects(place.url, tmp_path / "names of another"), SystemClock(), bytes_max=99)
    theirs = put(other, TEXT)
    assert Contents(place, SystemClock(), bytes_max=99).candidates() == []
    assert other.candidates() == [theirs.name]


# -- how a store is asked --------------------------------------------------------------------------


def test_an_upload_goes_in_parts_and_a_small_one_in_one_request(in_s3, s3):
    put(in_s3, TEXT)
    assert [method for method, _, _ in s3.asked] == ["PUT"]
    s3.asked.clear()
    put(in_s3, LARGE)
    methods = [method for method, _, _ in s3.asked]
    assert (methods[0], sorted(methods[1:-1]), methods[-1]) == ("POST", ["PUT"] * 4, "POST")


def test_parts_of_an_upload_that_is_broken_off_are_dropped(in_store, server, scheme):
    def broken_off():
        with in_store.incoming() as incoming:
            incoming.write(LARGE)
            until(lambda: server.uploads)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        broken_off()
    assert server.objects == {}
    if scheme != "az":  # which drops them itself, after a week
        assert server.uploads == {}


def test_the_end_of_a_content_is_read_without_the_rest_of_it(in_s3, s3):
    content = put(in_s3, LARGE)
    s3.asked.clear()
    with in_s3.open(content.name) as file:
        assert [method for method, _, _ in s3.asked] == ["HEAD"]
        file.seek(-10, os.SEEK_END)
        assert file.read() == LARGE[-10:]
    assert [asked for _, _, asked in s3.asked] == [
        None,
        f"bytes={len(LARGE) - 10}-{len(LARGE) - 1}",
    ]


def test_a_content_that_is_read_in_order_takes_few_requests_of_bounded_size(in_s3, s3):
    content = put(in_s3, LARGE)
    s3.asked.clear()
    with in_s3.open(content.name) as file:
        while file.read(1 << 16):
            pass
    spans = [tuple(map(int, asked[6:].split("-"))) for _, _, asked in s3.asked[1:]]
    sizes = [end - start + 1 for start, end in spans]
    assert sum(sizes) == len(LARGE)
    assert sizes[:3] == [256 << 10, 512 << 10, 1 << 20]
    assert max(sizes) <= objects._READ_BYTES_MAX
    assert len(sizes) < 10


def test_a_content_that_vanishes_while_it_is_read_is_gone(in_s3, s3):
    content = put(in_s3, LARGE)
    with in_s3.open(content.name) as file:
        file.read(10)
        s3.objects.clear()
        with pytest.raises(DamagedError, match="gone"):
            file.read()

    def vanish(_):
        s3.objects.clear()

    content = put(in_s3, LARGE)
    assert in_s3.damage(content, vanish) == "it is missing"


# -- a store that fails ----------------------------------------------------------------------------


def test_what_a_store_refuses_for_a_moment_is_asked_again(in_store, server):
    server.refusals = [503, 500]
    content = put(in_store, TEXT)
    server.refusals = [503]
    assert read(in_store, content.name) == TEXT
    assert server.refusals == []


@pytest.mark.parametrize("step", ["put", "open", "damage", "remove"])
def test_a_store_that_refuses_the_credentials_is_a_file_error_without_them(in_store, server, step):
    content = put(in_store, TEXT)
    server.is_refusing_all = True
    steps = {
        "put": lambda: put(in_store, TEXT),
        "open": lambda: in_store.open(content.name),
        "damage": lambda: in_store.damage(content),
        "remove": lambda: in_store.place.remove([content.name]),
    }
    with pytest.raises(FileError, match="credentials of the environment") as raised:
        steps[step]()
    assert raised.value.code == "StoreFailed"
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert content.name in in_store.place.names()
    server.is_refusing_all = False
    assert read(in_store, content.name) == TEXT


@pytest.fixture
def unreachable(scheme, environment, tmp_path, monkeypatch):
    """A store at a port where nothing listens."""
    with serving(STORES[scheme]()) as server:
        values = server.environment
    environment(values)
    monkeypatch.setattr(objects, "_RETRIES", 1)
    monkeypatch.setattr(objects, "_BRIEF_RETRIES", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", server.server_address[1]))
        yield contents_at(f"{scheme}://{BUCKET}/p", tmp_path)


def test_a_store_that_cannot_be_reached_is_a_file_error_that_says_what_to_do(unreachable):
    for step in (
        lambda: put(unreachable, TEXT),
        lambda: unreachable.open("a"),
        lambda: unreachable.place.remove(["a"]),
    ):
        with pytest.raises(FileError, match=r"nothing answers there.*try again"):
            step()
    assert len(unreachable.candidates()) == 1  # it may have been stored: removed another time


def test_a_bucket_that_is_not_there_is_no_damage(server, scheme, tmp_path):
    contents = contents_at(f"{scheme}://other/p", tmp_path)
    with pytest.raises(FileError, match="no such bucket"):
        put(contents, TEXT)
    with pytest.raises(FileError, match="no such bucket"):
        contents.damage(Content("a", "", 1))
    [name] = contents.place.names()
    with pytest.raises(FileError, match="no such bucket"):
        contents.place.remove([name])
    assert contents.place.names() == [name]


# -- URLs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, kept",
    [
        ("s3://bucket/some/prefix/", "s3://bucket/some/prefix"),
        ("s3://bucket", "s3://bucket"),
        ("gs://bucket/p", "gs://bucket/p"),
        ("az://container/p", "az://container/p"),
        ("file:///srv/files/", "file:///srv/files"),
        ("file:///srv/a%20b%2520c", "file:///srv/a%20b%2520c"),
        ("memory:///", "memory:///"),
    ],
)
def test_urls_of_stores_are_kept_in_one_form(given, kept):
    assert checked_url(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "bucket/prefix",
        "/srv/files",
        "ftp://host/x",
        "https://bucket.s3.amazonaws.com/x",
        "s3:///prefix",
        "s3://[bucket",
        "s3://bucket/a b",
        "file:relative",
        "file:///",
        "file://host/folder",
        "s3://who:hunter2@bucket/x",
        "az://container/x?sig=hunter2",
        "s3://bucket#hunter2",
    ],
)
def test_what_is_no_url_of_a_store_is_refused_and_secrets_are_not_repeated(given):
    with pytest.raises(InvalidValueError) as raised:
        checked_url(given)
    assert "hunter2" not in raised.value.message


# -- the disk itself -------------------------------------------------------------------------------


@pytest.fixture
def on_disk(tmp_path):
    (tmp_path / "files").mkdir()
    return Contents(Disk(tmp_path / "files", is_durable=True), SystemClock(), bytes_max=64 << 20)


def put_pieces(contents, data):
    with contents.incoming() as incoming:
        for piece in pieces_of(io.BytesIO(data)):
            incoming.write(piece)
        return incoming.finish()


@pytest.mark.parametrize("rest", [0, 1, 4096, PIECE_BYTES - 1])
def test_a_large_content_goes_past_the_cache_of_the_disk_and_is_whole(on_disk, monkeypatch, rest):
    direct, write = [], disk._DiskSink._write_directly

    def noting(self, piece):
        write(self, piece)
        direct.append(self._may_be_direct)

    monkeypatch.setattr(disk._DiskSink, "_write_directly", noting)
    data = LARGE[: 6 * PIECE_BYTES + rest]
    content = put_pieces(on_disk, data)
    assert on_disk.damage(content) is None
    assert content.sha256 == hashlib.sha256(data).hexdigest()
    if disk._DIRECT:  # what this file system cannot do it is asked once
        assert len(direct) == 4 or direct == [False]


def test_a_file_system_without_a_way_past_its_cache_takes_the_content_all_the_same(
    on_disk, monkeypatch
):
    """As tmpfs, and as memory that does not begin where the disk wants it to."""
    asked = []

    @contextmanager
    def refused(self):
        asked.append(self)
        raise OSError(errno.EINVAL, "Invalid argument")
        yield

    monkeypatch.setattr(disk, "_DIRECT", 1)
    monkeypatch.setattr(disk._DiskSink, "_past_the_cache", refused)
    assert on_disk.damage(put_pieces(on_disk, LARGE)) is None
    assert len(asked) == 1


def test_a_disk_that_takes_less_than_a_piece_at_once_has_it_whole(on_disk, monkeypatch):
    class Short:
        """Takes a thousand bytes at a time."""

        def __init__(self, file):
            self._file = file

        def write(self, piece):
            return self._file.write(piece[:1_000])

        def __getattr__(self, name):
            return getattr(self._file, name)

    make = disk._DiskSink.__init__

    def made(self, *args, **options):
        make(self, *args, **options)
        self._file = Short(self._file)

    monkeypatch.setattr(disk._DiskSink, "__init__", made)
    assert on_disk.damage(put_pieces(on_disk, LARGE[: 3 * PIECE_BYTES + 5])) is None


@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_disk_that_is_full_says_so_and_keeps_nothing(on_disk, monkeypatch, at):
    write, count = disk._DiskSink._write, iter(range(100))

    def full(self, piece):
        if next(count) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, piece)

    monkeypatch.setattr(disk._DiskSink, "_write", full)
    monkeypatch.setattr(disk, "_DIRECT", 0)
    with pytest.raises(FileError, match="Make room") as raised:
        put_pieces(on_disk, LARGE[: 6 * PIECE_BYTES])  # 5 is the last: it is said by `finish`
    assert raised.value.code == "DiskFull"
    assert list(on_disk.place.folder.iterdir()) == []
