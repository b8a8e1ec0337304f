"""Files over HTTP: upload URLs, downloads, and what hostile callers get; the official clients."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from urllib.parse import quote, urlsplit

import httpx
import pytest

import livedb
from livedb.functions.storage import UPLOAD_S_MAX
from livedb.service import storage_api
from livedb.testing import workspace
from tests.service.serving import serving

TEXT = bytes(range(256)) * 4
DIGEST = base64.b64encode(hashlib.sha256(TEXT).digest()).decode()


def define(db):
    """The functions of an application that keeps files."""

    @db.mutation(name="files:generateUploadUrl")
    def generate(ctx, most: int | None = None):
        return ctx.storage.generate_upload_url(bytes_max=most)

    @db.mutation(name="files:generateAndFail")
    def generate_and_fail(ctx):
        raise livedb.ApplicationError(ctx.storage.generate_upload_url())

    @db.mutation(name="files:save")
    def save(ctx, storageId: str, name: str):  # noqa: N803
        return ctx.db.insert("saved", {"file": storageId, "name": name})

    @db.query(name="files:list")
    def list_(ctx):
        return [
            {"name": row.name, "url": ctx.storage.get_url(row.file)}
            for row in ctx.db.query("saved").collect()
        ]

    @db.query(name="files:metadata")
    def metadata(ctx, storageId: str):  # noqa: N803
        return ctx.db.system.get(storageId)

    @db.query(name="files:url")
    def url(ctx, storageId: str):  # noqa: N803
        return ctx.storage.get_url(storageId)

    @db.mutation(name="files:remove")
    def remove(ctx, storageId: str):  # noqa: N803
        ctx.storage.delete(storageId)

    @db.action(name="files:make")
    def make(ctx, text: str):
        file = ctx.storage.store(text.encode(), content_type="text/plain")
        with ctx.storage.get(file) as opened:
            assert opened.read() == text.encode()
        return file


@pytest.fixture
def trial():
    with workspace(limits=livedb.Limits(file_bytes_max=1 << 20)) as trial:
        define(trial.db)
        yield trial


@pytest.fixture
def clock(trial):
    return trial.clock


@pytest.fixture
def served(trial):
    with serving(trial.db) as service:
        yield service


@pytest.fixture
def http():
    with httpx.Client(timeout=30) as client:
        yield client


def call(served, name, **args):
    return served.db.function(f"files:{name}")(**args)


def upload(served, http, content=TEXT, **headers):
    answer = http.post(call(served, "generateUploadUrl"), content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["storageId"]


def fetch(served, http, file, **headers):
    return http.get(call(served, "url", storageId=file), headers=headers)


def contents(served):
    return list(served.db.backend.workspace.files.files.iterdir())


def test_a_file_is_uploaded_and_fetched_with_its_type_and_digest(served, http):
    url = call(served, "generateUploadUrl")
    assert url.startswith(f"{served.url}/api/storage/upload?token=")
    file = upload(served, http, **{"content-type": "image/png", "digest": f"sha-256={DIGEST}"})
    found = call(served, "metadata", storageId=file)
    assert (found["contentType"], found["size"]) == ("image/png", len(TEXT))
    assert found["sha256"] == hashlib.sha256(TEXT).hexdigest()
    place = call(served, "url", storageId=file)
    assert place.startswith(f"{served.url}/api/storage/")
    assert file not in place
    answer = http.get(place)
    assert answer.status_code == 200
    assert answer.content == TEXT
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(TEXT))
    assert answer.headers["digest"] == f"sha-256={DIGEST}"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "private, max-age=2592000"
    head = http.head(place)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(TEXT))


def test_pages_may_upload_and_fetch(served, http):
    origin = {"origin": "http://localhost:5173"}
    url = call(served, "generateUploadUrl")
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "digest"}
    preflight = http.options(url, headers={**origin, **asked})
    assert preflight.headers["access-control-allow-origin"] == origin["origin"]
    answer = http.post(url, content=TEXT, headers=origin)
    assert answer.headers["access-control-allow-origin"] == origin["origin"]
    fetched = fetch(served, http, answer.json()["storageId"], **origin)
    assert fetched.headers["access-control-allow-origin"] == origin["origin"]


def test_an_empty_file_is_a_file(served, http):
    file = upload(served, http, b"")
    answer = fetch(served, http, file, range="bytes=0-5")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "asked, expected",
    [
        ("bytes=0-9", TEXT[:10]),
        ("bytes=10-", TEXT[10:]),
        ("bytes=-10", TEXT[-10:]),
        ("bytes=1000-99999", TEXT[1000:]),
        ("bytes=-99999", TEXT),
    ],
)
def test_one_range_is_answered_with_it(served, http, asked, expected):
    answer = fetch(served, http, upload(served, http), range=asked)
    assert answer.status_code == 206
    assert answer.content == expected
    start = len(TEXT) - len(expected) if expected != TEXT[:10] else 0
    end = start + len(expected) - 1
    assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(TEXT)}"


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=99999-100000", "bytes=-0"])
def test_a_range_beyond_the_end_is_416(served, http, asked):
    answer = fetch(served, http, upload(served, http), range=asked)
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(TEXT)}"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=" + ",".join(f"{n}-{n}" for n in range(1000)),
        "bytes=0-1,2-3",
        "bytes=5-2",
        "bytes=-",
        "bytes=--5",
        "lines=0-5",
        "bytes=x-y",
        "bytes=" + "9" * 5000 + "-",
    ],
)
def test_other_ranges_are_answered_with_the_whole(served, http, asked):
    answer = fetch(served, http, upload(served, http), range=asked)
    assert (answer.status_code, answer.content) == (200, TEXT)


def test_a_file_that_is_known_is_not_sent_again(served, http):
    file = upload(served, http)
    etag = fetch(served, http, file).headers["etag"]
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = fetch(served, http, file, **{"if-none-match": given})
        assert (answer.status_code, answer.content) == (304, b"")
    changed = {"range": "bytes=0-1", "if-range": '"other"'}
    assert fetch(served, http, file, **changed).status_code == 200
    assert fetch(served, http, file, **{**changed, "if-range": etag}).status_code == 206


@pytest.mark.parametrize(
    "kind",
    [
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "application/pdf",
        "TEXT/HTML",
    ],
)
def test_what_could_run_in_a_browser_is_only_ever_saved(served, http, kind):
    answer = fetch(served, http, upload(served, http, **{"content-type": kind}))
    assert answer.headers["content-disposition"] == "attachment"


@pytest.mark.parametrize("kind", ["image/png", "video/mp4", "text/plain; charset=utf-8"])
def test_what_a_browser_shows_runs_nothing_all_the_same(served, http, kind):
    answer = fetch(served, http, upload(served, http, **{"content-type": kind}))
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


def refused(served, http, url, status, code, content=TEXT, **headers):
    before = contents(served)
    answer = http.post(url, content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert contents(served) == before


def test_an_upload_url_is_good_for_one_file(served, http):
    url = call(served, "generateUploadUrl")
    assert http.post(url, content=TEXT).status_code == 200
    refused(served, http, url, 401, "StorageTokenInvalid")


def test_an_upload_url_is_used_up_even_when_its_file_is_deleted(served, http):
    url = call(served, "generateUploadUrl")
    call(served, "remove", storageId=http.post(url, content=TEXT).json()["storageId"])
    refused(served, http, url, 401, "StorageTokenInvalid")


def test_uploads_race_for_a_url_and_one_wins(served):
    url = call(served, "generateUploadUrl")
    answers = []

    def work():
        answers.append(httpx.post(url, content=TEXT, timeout=30).status_code)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [401] * 7
    assert len(contents(served)) == 1


def test_an_upload_url_expires_and_is_forgotten(served, http, clock):
    url = call(served, "generateUploadUrl")
    clock.advance(UPLOAD_S_MAX + 1)
    refused(served, http, url, 401, "StorageTokenExpired")
    call(served, "generateUploadUrl")
    refused(served, http, url, 401, "StorageTokenInvalid")


def test_an_upload_url_is_good_for_an_hour(served, http, clock):
    url = call(served, "generateUploadUrl")
    clock.advance(3_599)
    assert http.post(url, content=TEXT).status_code == 200


def test_unknown_upload_urls_are_refused(served, http):
    for token in ("", "x", "0" * 64, "%00", "x" * 4000):
        url = f"{served.url}/api/storage/upload?token={token}"
        refused(served, http, url, 401, "StorageTokenInvalid")
    refused(served, http, f"{served.url}/api/storage/upload", 401, "StorageTokenInvalid")


def test_an_upload_url_of_a_mutation_that_failed_is_none(served, http):
    with pytest.raises(livedb.ApplicationError) as failed:
        call(served, "generateAndFail")
    refused(served, http, failed.value.data, 401, "StorageTokenInvalid")


def test_a_wrong_digest_is_refused_and_the_url_stays_good(served, http):
    url = call(served, "generateUploadUrl")
    wrong = base64.b64encode(bytes(32)).decode()
    refused(served, http, url, 400, "WrongDigest", digest=f"sha-256={wrong}")
    for given in ("sha-256=", "sha-256=!!", "md5=AA==", "sha-256=AAAA", ""):
        refused(served, http, url, 400, "BadDigest", digest=given)
    assert http.post(url, content=TEXT, headers={"digest": f"sha-256={DIGEST}"}).status_code == 200


def test_too_large_a_file_is_refused_before_and_while_it_arrives(served, http):
    most = 1 << 20

    def pieces(size):
        for _ in range(size // 4096):
            yield bytes(4096)

    url = call(served, "generateUploadUrl")
    refused(served, http, url, 413, "FileTooLarge", content=pieces(most + 8192))
    refused(served, http, url, 413, "FileTooLarge", content=bytes(most + 1))
    small = call(served, "generateUploadUrl", most=100)
    refused(served, http, small, 413, "FileTooLarge", content=bytes(101))
    assert http.post(small, content=bytes(100)).status_code == 200
    assert http.post(url, content=bytes(most)).status_code == 200


def test_an_upload_that_the_disk_refuses_for_another_reason_is_503(served, http):
    folder = served.db.backend.workspace.files.files
    away = folder.rename(folder.with_name("away"))
    folder.touch()  # no folder
    url = call(served, "generateUploadUrl")
    answer = http.post(url, content=TEXT)
    assert (answer.status_code, answer.json()["code"]) == (503, "FileFailed")
    assert "Make room" not in answer.json()["message"]
    folder.unlink()
    away.rename(folder)
    assert http.post(url, content=TEXT).status_code == 200


def test_an_upload_that_breaks_off_leaves_nothing(served, http):
    url = urlsplit(call(served, "generateUploadUrl"))
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(
            f"POST {url.path}?{url.query} HTTP/1.1\r\nhost: localhost\r\n"
            "content-length: 1000\r\n\r\nonly this".encode()
        )
        while not contents(served):
            pass
    while contents(served):
        pass
    assert http.post(url.geturl(), content=TEXT).status_code == 200


def test_an_upload_that_falls_silent_is_ended(served, http, monkeypatch):
    monkeypatch.setattr(storage_api, "SILENT_S_MAX", 0.2)
    url = urlsplit(call(served, "generateUploadUrl"))
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(
            f"POST {url.path}?{url.query} HTTP/1.1\r\nhost: localhost\r\n"
            "content-length: 1000\r\n\r\nonly this".encode()
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")
    assert contents(served) == []
    assert http.post(url.geturl(), content=TEXT).status_code == 200


def test_too_many_uploads_at_once_are_told_to_come_again(served, http, monkeypatch):
    monkeypatch.setattr(storage_api, "UPLOADS_MAX", 0)
    url = call(served, "generateUploadUrl")
    refused(served, http, url, 503, "TooManyUploads")
    monkeypatch.undo()
    assert http.post(url, content=TEXT).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["../../x", "C:\\x", "a\x00b", "n" * 4096, "\u202egnp.exe", 'a"; filename="b'],
)
def test_names_that_callers_send_name_nothing(served, http, name):
    encoded = name.encode("unicode-escape").decode()
    headers = {"content-disposition": f'attachment; filename="{encoded}"', "slug": encoded}
    file = upload(served, http, **headers)
    [content] = contents(served)
    assert content.name == call(served, "url", storageId=file).rpartition("/")[2]
    answer = http.get(f"{served.url}/api/storage/{quote(name, safe='')}")
    assert answer.status_code == 404
    fetched = fetch(served, http, file)
    assert fetched.headers["content-disposition"] == "attachment"


def test_a_media_type_that_is_none_is_refused(served, http):
    url = call(served, "generateUploadUrl")
    refused(served, http, url, 400, "InvalidContentType", **{"content-type": "png"})


def test_a_deleted_file_is_gone_for_whoever_knows_its_url(served, http):
    file = upload(served, http)
    url = call(served, "url", storageId=file)
    call(served, "remove", storageId=file)
    answer = http.get(url)
    assert (answer.status_code, answer.json()["code"]) == (404, "FileNotFound")
    served.db.backend.workspace.file_storage.collect()
    assert contents(served) == []


def test_urls_name_the_public_address(http):
    with livedb.open() as db:
        define(db)
        with serving(db, public_url="https://shop.example/live/"):
            url = db.function("files:generateUploadUrl")()
    assert url.startswith("https://shop.example/live/api/storage/upload?token=")


def test_the_npm_clients_upload_save_list_and_delete(served):
    report = served.npm("files")
    assert report["listed"] == [[], ["photo"]]
    assert report["fetched"] == ["image/png", "pixels"]
    assert report["metadata"] == ["_creationTime", "_id", "contentType", "sha256", "size"]
    assert report["size"] == len("pixels")
    assert report["made"] == "by an action"
    assert report["after"] == [None, 404]


def test_the_pypi_client_uploads_and_fetches(served):
    report = served.pypi("files")
    assert report["fetched"] == "pixels"
    assert report["size"] == len("pixels")
    assert report["gone"] is None
