"""Issuers for tests: real keys, and a real HTTP server on this machine that shows them."""

from __future__ import annotations

import json
import threading
from base64 import b64encode, urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc import jwk, jws

KINDS = {"RS256": ("RSA", 2048), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}


def base64_of(data: bytes | str) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class Signer:
    """A private key and the tokens signed with it."""

    def __init__(self, algorithm: str, kid: str | None) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.key = jwk.generate_key(*KINDS[algorithm])
        self._registry = jws.JWSRegistry(strict_check_header=False)
        self._signer = self._registry.algorithms[algorithm]

    def public(self, **more) -> dict:
        named = {} if self.kid is None else {"kid": self.kid}
        return {**self.key.as_dict(private=False), **named, **more}

    def sign(self, claims, *, text: str | None = None, **header) -> str:
        """A token of `claims`, or of the payload `text`; a header field of None is left out."""
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **header}
        head = {name: value for name, value in head.items() if value is not None}
        payload = json.dumps(claims) if text is None else text
        return self.sign_parts(json.dumps(head), payload)

    def sign_parts(self, header: str, payload: str) -> str:
        body = f"{base64_of(header)}.{base64_of(payload)}"
        return f"{body}.{base64_of(self._signer.sign(body.encode(), self.key))}"


class Issuer(ThreadingHTTPServer):
    """An issuer on loopback. `routes` says what each path answers; `asked` what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.released = threading.Event()
        """Set at the end, so that no answer that hangs outlives its test."""
        self.routes = {}
        self.route(
            "/.well-known/openid-configuration",
            {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
        )
        self.show()

    def show(self, *signers: Signer) -> None:
        self.route("/keys", {"keys": [signer.public() for signer in signers]})

    def route(self, path: str, answer, *, status: int = 200, **headers: str) -> None:
        """Let `path` answer JSON or bytes; a function is called with the handler instead."""
        if not callable(answer) and not isinstance(answer, bytes):
            answer = json.dumps(answer).encode()
        self.routes[path] = (answer, status, headers)

    def asked_for(self, path: str) -> int:
        return self.asked.count(path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: Issuer

    def do_GET(self):
        self.server.asked.append(self.path)
        answer, status, headers = self.server.routes.get(self.path, (b"", 404, {}))
        try:
            if callable(answer):
                answer(self)
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(answer)
        except OSError:
            pass  # whoever asked has gone

    def log_message(self, *_):
        pass


def data_uri(*keys: dict) -> str:
    return "data:application/json;base64," + b64encode(json.dumps({"keys": keys}).encode()).decode()


def inline(*keys: dict, algorithm: str = "RS256", **more) -> dict:
    """The configuration of an issuer whose keys are in it."""
    return {
        "type": "customJwt",
        "issuer": "https://shop.example",
        "jwks": data_uri(*keys),
        "algorithm": algorithm,
        "applicationID": "shop",
    } | more
