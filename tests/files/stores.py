"""Servers of object stores: small ones of our own by scheme, and others' where they are installed.

The others are too heavy to be among what tests need; docs/files.md says how to have them.
"""

from __future__ import annotations

import base64
import hmac
import importlib.util
import shutil
import socket
import subprocess
import threading
import urllib.request
from contextlib import closing, contextmanager
from email.utils import formatdate
from functools import partial

from tests.files.small_azure import ACCOUNT, SmallAzure, azure_environment
from tests.files.small_s3 import BUCKET, SmallGoogle, SmallS3, google_environment, s3_environment
from tests.waiting import until

STORES = {"s3": SmallS3, "gs": SmallGoogle, "az": SmallAzure}
"""Those that can be made to fail."""

KEY_OF_AZURITE = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""Known to everybody: Microsoft's documentation has it."""


@contextmanager
def moto(environment_of, *, authorization=None):
    """moto's S3; `authorization` takes the place of what a client sends that speaks as another."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = DomainDispatcherApplication(create_backend_app)

    def answer(environ, start_response):
        if authorization is not None:
            environ["HTTP_AUTHORIZATION"] = authorization
        return application(environ, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT")).close()
        yield environment_of(url)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def azurite():
    """Azurite's blob service, with a container."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    options = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    child = subprocess.Popen([shutil.which("azurite-blob"), "--blobPort", str(port), *options])
    try:
        until(lambda: _listens(port))
        url = f"http://127.0.0.1:{port}"
        _make_container(url)
        yield azure_environment(url, KEY_OF_AZURITE)
    finally:
        child.kill()
        child.wait()


def _listens(port):
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _make_container(url):
    """obstore makes none; a request of Azure's is signed over its method, headers and resource."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    said = "".join(f"{name}:{value}\n" for name, value in headers.items())
    resource = f"/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    signed = "PUT" + "\n" * 12 + said + resource
    key = base64.b64decode(KEY_OF_AZURITE)
    signature = base64.b64encode(hmac.digest(key, signed.encode(), "sha256")).decode()
    headers["authorization"] = f"SharedKey {ACCOUNT}:{signature}"
    made = f"{url}/{ACCOUNT}/{BUCKET}?restype=container"
    urllib.request.urlopen(urllib.request.Request(made, method="PUT", headers=headers)).close()


EMULATORS = {}
"""By kind: what gives the environment in which a store answers, as long as it is entered."""

if importlib.util.find_spec("moto"):
    SIGNED = (
        "AWS4-HMAC-SHA256 Credential=who/20261127/us-east-1/s3/aws4_request, SignedHeaders=host, "
        "Signature=0"
    )
    EMULATORS["s3 of moto"] = partial(moto, s3_environment)
    EMULATORS["gs of moto"] = partial(moto, google_environment, authorization=SIGNED)
if shutil.which("azurite-blob"):
    EMULATORS["az of azurite"] = azurite
