"""As much of Azure's blob storage as livedb asks of it, beside `small_s3`.

It answers as Azurite does: with `azurite-blob` on the PATH the contract tests run over both.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

from tests.files.small_s3 import BUCKET, DATE, NAMED, SECRET, Asked, SmallS3

ACCOUNT = "devstoreaccount1"


class SmallAzure(SmallS3):
    def __init__(self):
        super().__init__(AskedForBlobs)

    @property
    def environment(self) -> dict[str, str]:
        return azure_environment(self.url, base64.b64encode(SECRET.encode()).decode())


def azure_environment(url, key):
    return {
        "AZURE_STORAGE_ENDPOINT": f"{url}/{ACCOUNT}",
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": key,
        "AZURE_ALLOW_HTTP": "true",
    }


class AskedForBlobs(Asked):
    NO_BUCKET = "ContainerNotFound"

    def named(self, path):
        return super().named(path.removeprefix(f"/{ACCOUNT}"))

    def answer_put(self, store):
        headers = {"etag": '"1"', "last_modified": DATE}
        if self.query.get("comp") == ["block"]:
            blocks = store.uploads.setdefault(self.key, {})
            blocks[self.query["blockid"][0]] = self.body
            self.reply(201)
            return
        if self.query.get("comp") == ["blocklist"]:
            blocks = store.uploads.pop(self.key)
            wanted = re.findall(r"<Uncommitted>(.*?)</Uncommitted>", self.body.decode())
            store.objects[self.key] = b"".join(blocks[each] for each in wanted)
        else:
            assert self.headers["x-ms-blob-type"] == "BlockBlob"
            store.objects[self.key] = self.body
        self.reply(201, **headers)

    def answer_post(self, store):
        """Delete many, each with an answer of its own."""
        assert self.query["comp"] == ["batch"]
        parts = []
        for number, path in enumerate(
            re.findall(r"^DELETE (\S+) HTTP", self.body.decode(), re.MULTILINE)
        ):
            bucket, key = self.named(unquote(path))
            assert bucket == BUCKET
            found = store.objects.pop(key, None)
            status = "202 Accepted" if found is not None else "404 Not Found"
            error = "" if found is not None else "x-ms-error-code: BlobNotFound\r\n"
            parts.append(
                f"--parts\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 {status}\r\n{error}\r\n"
            )
        body = "".join(parts) + "--parts--\r\n"
        self.reply(202, body.encode(), content_type="multipart/mixed; boundary=parts")

    def answer_delete(self, store):
        self.reply(404 if store.objects.pop(self.key, None) is None else 202)

    def answer_get(self, store):
        if self.key:
            super().answer_get(store)
            return
        listed = f'<EnumerationResults ContainerName="{BUCKET}"><Blobs/></EnumerationResults>'
        self.reply(200, f"{NAMED}{listed}".encode())
