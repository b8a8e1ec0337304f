from __future__ import annotations

import json
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from livedb.auth.fetching import FetchError, fetch_keys
from livedb.auth.keysets import KeySets
from livedb.auth.providers import parse_providers
from livedb.clock import SystemClock
from livedb.errors import AuthenticationError, ClosedError, IdentityProviderError
from livedb.limits import (
    KEY_SET_BYTES_MAX,
    KEY_SET_FRESH_S,
    KEY_SET_KEYS_MAX,
    KEY_SET_PAUSE_S,
    KEY_SET_STALE_S,
)
from tests.auth.issuers import Signer

DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def signer():
    return Signer("EdDSA", "first")


@pytest.fixture
def domain(issuer, signer):
    """The provider of `issuer`, by discovery."""
    issuer.show(signer)
    (provider,) = parse_providers({"providers": [{"domain": issuer.url, "applicationID": "shop"}]})
    return provider


@pytest.fixture
def custom(issuer, signer):
    """The provider of `issuer`, by the address of its keys."""
    issuer.show(signer)
    entry = {"type": "customJwt", "issuer": "https://shop.example", "algorithm": "EdDSA"}
    (provider,) = parse_providers({"providers": [{**entry, "jwks": f"{issuer.url}/keys"}]})
    return provider


@pytest.fixture
def hasty(clock):
    """Key sets that give up on a fetch soon."""
    with KeySets(clock, timeout_s=0.3) as sets:
        yield sets


def settle():
    """Wait until no fetch is on its way."""
    for thread in threading.enumerate():
        if thread.name == "livedb-keys":
            thread.join()


def hang_at(issuer, path) -> threading.Event:
    """Let `path` answer nothing until the end of the test; what is given says who has asked."""
    arrived = threading.Event()

    def hang(handler):
        arrived.set()
        issuer.released.wait(10)

    issuer.route(path, hang)
    return arrived


def dribble(issuer, head: bytes):
    """An answer that begins with `head` and goes on, a byte at a time, until the test ends."""

    def answer(handler):
        handler.wfile.write(head)
        while not issuer.released.wait(0.02):
            handler.wfile.write(b" ")

    return answer


def reason_of(error_class, key_sets, provider) -> str:
    with pytest.raises(error_class) as caught:
        key_sets.key(provider, "first", "EdDSA")
    return caught.value.message


def test_keys_are_discovered_and_fetched_once(issuer, domain, key_sets):
    for _ in range(3):
        assert key_sets.key(domain, "first", "EdDSA").kid == "first"
    assert issuer.asked == [DISCOVERY, "/keys"]


def test_keys_at_a_known_address_need_no_discovery(issuer, custom, key_sets):
    assert key_sets.key(custom, "first", "EdDSA").kid == "first"
    assert issuer.asked == ["/keys"]


def test_a_domain_is_verified_end_to_end(issuer, signer, claims, make_verifier):
    issuer.show(signer)
    verifier = make_verifier({"domain": issuer.url + "/", "applicationID": "shop"})
    for name in (issuer.url, issuer.url + "/"):  # Auth0 writes a slash that nobody configures
        identity = verifier.verify(signer.sign(claims(iss=name))).identity
        assert identity.token_identifier == f"{name}|user_1"


def test_a_key_that_the_issuer_has_just_begun_to_use_is_found(issuer, domain, key_sets, clock):
    key_sets.key(domain, "first", "EdDSA")
    issuer.show(Signer("EdDSA", "second"))
    clock.advance(KEY_SET_PAUSE_S)
    assert key_sets.key(domain, "second", "EdDSA").kid == "second"


def test_a_key_that_the_issuer_no_longer_shows_goes_with_the_next_fetch(
    issuer, domain, key_sets, clock
):
    key_sets.key(domain, "first", "EdDSA")
    issuer.show(Signer("EdDSA", "second"))
    clock.advance(KEY_SET_PAUSE_S)
    key_sets.key(domain, "second", "EdDSA")
    assert "does not show" in reason_of(AuthenticationError, key_sets, domain)


def test_made_up_key_names_cost_the_issuer_one_fetch_in_a_pause(issuer, domain, key_sets, clock):
    for pause in range(3):
        for number in range(20):
            with pytest.raises(AuthenticationError):
                key_sets.key(domain, f"made up {number}", "EdDSA")
        assert issuer.asked_for("/keys") == pause + 1
        clock.advance(KEY_SET_PAUSE_S)


def test_old_keys_are_used_while_new_ones_are_fetched_behind(issuer, domain, key_sets, clock):
    key_sets.key(domain, "first", "EdDSA")
    issuer.show(Signer("EdDSA", "second"))
    clock.advance(KEY_SET_FRESH_S + 1)
    assert key_sets.key(domain, "first", "EdDSA").kid == "first"
    settle()
    assert issuer.asked_for("/keys") == 2
    assert key_sets.key(domain, "second", "EdDSA").kid == "second"


def test_one_fetch_serves_all_who_wait_for_it(issuer, domain, key_sets, signer):
    arrived = threading.Semaphore(0)
    go_on = threading.Event()

    def answer(handler):
        arrived.release()
        go_on.wait(10)
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(json.dumps({"keys": [signer.public()]}).encode())

    issuer.route("/keys", answer)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(key_sets.key(domain, "first", "EdDSA").kid))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    arrived.acquire()
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == ["first"] * 8
    assert issuer.asked == [DISCOVERY, "/keys"]


def test_a_fetch_for_one_issuer_delays_no_other(issuer, domain, custom, key_sets):
    arrived = hang_at(issuer, DISCOVERY)
    waiting = threading.Thread(
        target=reason_of, args=(IdentityProviderError, key_sets, domain), daemon=True
    )
    waiting.start()
    arrived.wait(10)
    assert key_sets.key(custom, "first", "EdDSA").kid == "first"
    assert waiting.is_alive()
    issuer.released.set()
    waiting.join()


# What issuers answer when something is wrong: reliability.md 2.4, no. 60.


def test_an_issuer_that_is_down_is_a_passing_error_and_not_asked_at_once_again(
    issuer, domain, key_sets, clock
):
    issuer.route("/keys", b"", status=503)
    assert "answered 503" in reason_of(IdentityProviderError, key_sets, domain)
    reason_of(IdentityProviderError, key_sets, domain)
    assert issuer.asked_for("/keys") == 1


def test_an_issuer_that_is_up_again_is_used_after_the_pause(
    issuer, domain, key_sets, clock, signer
):
    issuer.route("/keys", b"", status=500)
    reason_of(IdentityProviderError, key_sets, domain)
    issuer.show(signer)
    clock.advance(KEY_SET_PAUSE_S)
    assert key_sets.key(domain, "first", "EdDSA").kid == "first"


def test_nobody_at_the_address_is_a_passing_error(key_sets, unused_port):
    (provider,) = parse_providers(
        {"providers": [{"domain": f"http://127.0.0.1:{unused_port}", "applicationID": "shop"}]}
    )
    assert "ConnectError" in reason_of(IdentityProviderError, key_sets, provider)


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_issuer_whose_certificate_nobody_vouches_for_is_not_believed(
    issuer, signer, key_sets, tmp_path
):
    issuer.show(signer)
    issuer.socket = self_signed(tmp_path).wrap_socket(issuer.socket, server_side=True)
    url = issuer.url.replace("http:", "https:")
    (provider,) = parse_providers({"providers": [{"domain": url, "applicationID": "shop"}]})
    assert "self-signed certificate" in reason_of(IdentityProviderError, key_sets, provider)
    assert issuer.asked == []


def self_signed(folder) -> ssl.SSLContext:
    """What a server needs that says of itself that it is 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), serial_number=1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_known_keys_outlive_an_outage_of_a_day_and_no_longer(issuer, domain, key_sets, clock):
    key_sets.key(domain, "first", "EdDSA")
    issuer.route(DISCOVERY, b"", status=502)
    clock.advance(KEY_SET_STALE_S)
    assert key_sets.key(domain, "first", "EdDSA").kid == "first"
    settle()
    clock.advance(KEY_SET_PAUSE_S)
    assert "answered 502" in reason_of(IdentityProviderError, key_sets, domain)


def test_an_issuer_that_does_not_answer_is_waited_for_so_long(issuer, domain, hasty):
    hang_at(issuer, DISCOVERY)
    assert "cannot be had" in reason_of(IdentityProviderError, hasty, domain)


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n{", b"HTTP/1.0 200 OK\r\nX-Slow: "])
def test_an_issuer_that_dribbles_its_answer_is_waited_for_so_long(issuer, domain, head):
    issuer.route(DISCOVERY, dribble(issuer, head))
    with KeySets(SystemClock(), timeout_s=0.3) as key_sets:
        assert "cannot be had" in reason_of(IdentityProviderError, key_sets, domain)


def test_a_fetch_of_a_body_that_dribbles_ends_by_itself(issuer, domain):
    issuer.route(DISCOVERY, dribble(issuer, b"HTTP/1.0 200 OK\r\n\r\n{"))
    with pytest.raises(FetchError):
        fetch_keys(domain, SystemClock(), 0.3)


def test_a_fetch_that_never_ends_is_not_joined_by_another(issuer, domain, hasty, clock):
    issuer.route(DISCOVERY, dribble(issuer, b"HTTP/1.0 200 OK\r\nX-Slow: "))
    for _ in range(3):
        reason_of(IdentityProviderError, hasty, domain)
        clock.advance(KEY_SET_PAUSE_S)
    assert issuer.asked_for(DISCOVERY) <= 1


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
def test_an_answer_that_is_too_long_is_let_go(issuer, domain, key_sets, path):
    issuer.route(path, b" " * (KEY_SET_BYTES_MAX + 1) + b"{}")
    assert "larger than" in reason_of(AuthenticationError, key_sets, domain)


def test_an_endless_answer_is_let_go(issuer, domain, key_sets):
    def pour(handler):
        handler.send_response(200)
        handler.end_headers()
        while not issuer.released.is_set():
            handler.wfile.write(b" " * 65536)

    issuer.route("/keys", pour)
    assert "larger than" in reason_of(AuthenticationError, key_sets, domain)


def test_a_compressed_answer_is_not_unpacked(issuer, domain, key_sets):
    issuer.route("/keys", b"\x1f\x8b", Content_Encoding="gzip")
    assert "compressed" in reason_of(AuthenticationError, key_sets, domain)


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://evil.example/keys",
        "file:///etc/passwd",
        "//evil.example/keys",
        "http://[broken",
        "http://localhost:1/keys",
    ],
)
def test_a_redirect_to_another_place_is_not_followed(issuer, domain, key_sets, target):
    issuer.route("/keys", b"", status=302, Location=target)
    assert "redirects to another place" in reason_of(AuthenticationError, key_sets, domain)


def test_a_redirect_within_the_issuer_is_followed(issuer, domain, key_sets, signer):
    issuer.route("/keys", b"", status=301, Location="/keys/v2")
    issuer.route("/keys/v2", {"keys": [signer.public()]})
    assert key_sets.key(domain, "first", "EdDSA").kid == "first"


def test_redirects_in_a_circle_end(issuer, domain, key_sets):
    issuer.route("/keys", b"", status=302, Location="/keys")
    assert "redirects more than" in reason_of(AuthenticationError, key_sets, domain)


@pytest.mark.parametrize(
    "changed,reason",
    [
        ({"issuer": "https://evil.example"}, "speaks for the issuer"),
        ({"issuer": None}, "speaks for the issuer"),
        ({"jwks_uri": None}, "names no 'jwks_uri'"),
        ({"jwks_uri": "file:///etc/passwd"}, "is no URL"),
        ({"jwks_uri": "http://169.254.169.254/keys"}, "must start with https://"),
    ],
)
def test_a_discovery_document_that_misleads_is_refused(issuer, domain, key_sets, changed, reason):
    found = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"} | changed
    issuer.route(DISCOVERY, found)
    assert reason in reason_of(AuthenticationError, key_sets, domain)
    assert issuer.asked_for("/keys") == 0


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[" * 100_000, b"\xff", b"[]", b'{"keys": 1}'])
@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
def test_an_answer_that_is_something_else_is_refused(issuer, domain, key_sets, path, answer):
    issuer.route(path, answer)
    with pytest.raises(AuthenticationError) as caught:
        key_sets.key(domain, "first", "EdDSA")
    assert caught.value.code == "AuthProviderDiscoveryFailed"


def test_a_missing_page_is_no_passing_error(issuer, domain, key_sets):
    issuer.route("/keys", b"", status=404)
    assert "answered 404" in reason_of(AuthenticationError, key_sets, domain)


def test_too_many_keys_are_refused(issuer, domain, key_sets, signer):
    issuer.route("/keys", {"keys": [signer.public()] * (KEY_SET_KEYS_MAX + 1)})
    assert "keys; at most" in reason_of(AuthenticationError, key_sets, domain)


def test_a_thread_that_cannot_be_started_is_not_waited_for_ever(
    issuer, domain, key_sets, clock, monkeypatch
):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            key_sets.key(domain, "first", "EdDSA")
    clock.advance(KEY_SET_PAUSE_S)
    assert key_sets.key(domain, "first", "EdDSA").kid == "first"


def test_closed_key_sets_fetch_nothing(issuer, domain, key_sets):
    key_sets.close()
    with pytest.raises(ClosedError):
        key_sets.key(domain, "first", "EdDSA")
    assert issuer.asked == []


def test_closing_wakes_who_waits_for_a_key(issuer, domain, key_sets):
    arrived = hang_at(issuer, DISCOVERY)
    waiting = threading.Thread(target=reason_of, args=(ClosedError, key_sets, domain))
    waiting.start()
    arrived.wait(10)
    key_sets.close()
    waiting.join()
