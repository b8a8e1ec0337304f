"""As much of S3 as livedb asks of it, in a real server on loopback; what was asked can be seen.

Google's stores are asked the same (their XML API), but for the credentials and for what a missing
object is. It answers as moto does: with `moto[server]` installed the contract tests run over both.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "bucket"
SECRET = "a-secret-key-of-this-test"
DATE = "Fri, 27 Nov 2026 10:00:00 GMT"

NAMED = '<?xml version="1.0" encoding="UTF-8"?>'


class SmallS3(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler=None):
        super().__init__(("127.0.0.1", 0), handler or Asked)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and range of each request."""
        self.refusals: list[int] = []
        """Statuses that the next requests are refused with."""
        self.is_refusing_all = False
        """Whether every request is refused, with 403 and a body that holds a secret."""
        self.lock = threading.Lock()
        self.may_answer = threading.Event()
        """Cleared, requests wait; `waiting` counts those that came."""
        self.may_answer.set()
        self.waiting = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        return s3_environment(self.url)


class SmallGoogle(SmallS3):
    @property
    def environment(self) -> dict[str, str]:
        return google_environment(self.url)


def s3_environment(url):
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "who",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


def google_environment(url):
    key = {"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": SECRET}
    key["private_key_id"] = ""
    return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(key), "GOOGLE_ALLOW_HTTP": "true"}


@contextmanager
def small_s3():
    with serving(SmallS3()) as server:
        yield server


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    NO_BUCKET = "NoSuchBucket"
    server: SmallS3

    def log_message(self, *_):
        pass

    def answer(self):
        split = urlsplit(self.path)
        bucket, self.key = self.named(unquote(split.path))
        self.query = parse_qs(split.query, keep_blank_values=True)
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        store = self.server
        if not store.may_answer.is_set():
            store.waiting.release()
            store.may_answer.wait()
        with store.lock:
            store.asked.append((self.command, self.key, self.headers.get("range")))
            if store.is_refusing_all:
                said = f"<Error><Code>AccessDenied</Code><Key>{SECRET}</Key></Error>"
                self.reply(403, said.encode())
            elif store.refusals:
                self.reply(store.refusals.pop(0))
            elif bucket != BUCKET:
                self.reply(404, f"<Error><Code>{self.NO_BUCKET}</Code></Error>".encode())
            else:
                getattr(self, f"answer_{self.command.lower()}")(store)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  # the server's names

    def named(self, path):
        """The bucket and the key that a path names."""
        bucket, _, key = path.lstrip("/").partition("/")
        return bucket, key

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "content_length" not in headers:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_put(self, store):
        if "partNumber" in self.query:
            parts = store.uploads[self.query["uploadId"][0]]
            parts[int(self.query["partNumber"][0])] = self.body
        else:
            store.objects[self.key] = self.body
        self.reply(200, etag='"1"')

    def answer_post(self, store):
        if "delete" in self.query:
            keys = [unquote(key) for key in re.findall(r"<Key>(.*?)</Key>", self.body.decode())]
            for key in keys:
                store.objects.pop(key, None)
            gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self.reply(200, f"{NAMED}<DeleteResult>{gone}</DeleteResult>".encode())
        elif "uploads" in self.query:
            upload = f"upload{len(store.asked)}"
            store.uploads[upload] = {}
            said = f"<Bucket>{BUCKET}</Bucket><Key>{self.key}</Key><UploadId>{upload}</UploadId>"
            result = "InitiateMultipartUploadResult"
            self.reply(200, f"{NAMED}<{result}>{said}</{result}>".encode())
        else:
            parts = store.uploads.pop(self.query["uploadId"][0])
            store.objects[self.key] = b"".join(parts[number] for number in sorted(parts))
            result = "CompleteMultipartUploadResult"
            self.reply(200, f'{NAMED}<{result}><ETag>"1"</ETag></{result}>'.encode())

    def answer_delete(self, store):
        if "uploadId" in self.query:
            store.uploads.pop(self.query["uploadId"][0], None)
        elif self.key not in store.objects and self.headers["authorization"].startswith("Bearer"):
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")  # as Google's
            return
        else:
            store.objects.pop(self.key, None)
        self.reply(204)

    def answer_head(self, store):
        self.answer_get(store)

    def answer_get(self, store):
        if not self.key:
            named = "<Name>bucket</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>"
            self.reply(200, f"{NAMED}<ListBucketResult>{named}</ListBucketResult>".encode())
            return
        found = store.objects.get(self.key)
        if found is None:
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        headers = {"etag": '"1"', "last_modified": DATE}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        if wanted is None:
            self.reply(200, found, content_length=str(len(found)), **headers)
            return
        start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(found))
        span = f"bytes {start}-{end - 1}/{len(found)}"
        self.reply(206, found[start:end], content_range=span, **headers)
