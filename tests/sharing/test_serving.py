"""`db.serve()`: who may reach it, how often it may be called, and what of it is displayed."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

import livedb
from livedb.errors import AuthenticationError, InvalidValueError, WorkspaceError
from livedb.sharing.serving import serve_options
from tests.sharing.processes import Python


def ask(url, path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url + path, data, {"content-type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_serving_again_changes_nothing(db):
    serving = db.serve()
    assert db.serve() is serving
    assert db.serve(port=int(serving.url.rpartition(":")[2])) is serving


def site_port(serving):
    return int(serving.site_url.rpartition(":")[2])


def free_ports():
    """Two ports, one after the other, that were free a moment ago."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            with suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
                return port


def test_the_site_is_on_the_port_after_the_services(db):
    port = free_ports()
    with db.serve(port=port) as serving:
        assert site_port(serving) == port + 1
        assert repr(serving).endswith(f"HTTP actions at http://127.0.0.1:{port + 1}>")
        assert f":{port + 1}" in serving._repr_html_()
        with livedb.open() as other, pytest.raises(WorkspaceError, match="Cannot listen"):
            other.serve(site_port=port + 1)


def test_the_site_is_on_a_free_port_when_the_next_one_is_taken(db):
    port = free_ports()
    with socket.create_server(("127.0.0.1", port + 1)), db.serve(port=port) as serving:
        assert site_port(serving) not in {port, port + 1}


def test_serving_again_with_its_site_port_changes_nothing_and_with_another_is_refused(db):
    serving = db.serve()
    assert db.serve(site_port=site_port(serving)) is serving
    assert db.serve(site_port=0) is serving
    with pytest.raises(WorkspaceError, match="other settings"):
        db.serve(site_port=site_port(serving) + 1)
    with pytest.raises(InvalidValueError, match="from 0 to 65535"):
        db.serve(site_port=65536)


def test_serving_otherwise_asks_to_end_the_first(db):
    serving = db.serve()
    with pytest.raises(WorkspaceError, match=r"close\(\)"):
        db.serve(anonymous=True)
    serving.close()
    assert db.serve(anonymous=True) is not serving


def test_it_ends_with_its_block_and_the_workspace_stays_open(db):
    with db.serve() as serving:
        assert ask(serving.url, "/version")[0] == 200
    assert serving.is_closed
    with pytest.raises(OSError, match="refused"):
        ask(serving.url, "/version")
    db["t"].insert({"n": 1})


def test_closing_the_workspace_ends_it(tmp_path):
    with livedb.open(tmp_path / "work") as db:
        serving = db.serve()
        remote = livedb.connect(db.invite(name="ann").url)
    assert serving.is_closed
    serving.close()
    assert remote.backend.status.state != "connected"
    remote.close()


def test_without_a_token_nobody_comes_in(db):
    @db.query
    def secret(ctx) -> str:
        return "gold"

    serving = db.serve()
    status, text = ask(serving.url, "/api/query", {"path": "secret", "args": {}, "format": "json"})
    assert status in {401, 403}, text


def test_anonymous_lets_programs_of_this_machine_call_public_functions(db):
    @db.query
    def greeting(ctx) -> str:
        return "hello"

    serving = db.serve(anonymous=True)
    body = {"path": "greeting", "args": {}, "format": "json"}
    assert "hello" in ask(serving.url, "/api/query", body)[1]


def test_the_network_is_served_only_when_somebody_was_invited(db):
    with pytest.raises(WorkspaceError, match=r"db\.invite"):
        db.serve("0.0.0.0")
    db.invite(name="ann")
    assert socket.gethostname() in db.serve("0.0.0.0").url


def test_anonymous_on_the_network_must_be_said_by_role(db):
    with pytest.raises(WorkspaceError, match="anonymous='member'"):
        db.serve("0.0.0.0", anonymous=True)
    db.serve("0.0.0.0", anonymous="viewer")


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70_000},
        {"anonymous": "owner"},
        {"allow_origins": "https://a.example"},
        {"public_url": "live.example"},
        {"public_url": "https://live.example/?token=1"},
        {"auth": {}},
        {"auth": "/nowhere/auth.json"},
    ],
)
def test_what_cannot_be_meant_is_refused(db, wrong):
    with pytest.raises(InvalidValueError):
        db.serve(**wrong)


def test_a_port_that_is_taken_is_named(db):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WorkspaceError, match=str(port)):
            db.serve(port=port)
    db.serve()


def test_a_saved_link_leads_there_again_when_the_workspace_is_served_again(tmp_path):
    with livedb.open(tmp_path / "work") as db:
        serving = db.serve()
        link = db.invite(name="ana").save(tmp_path / "ana.url").read_text().strip()
    with livedb.open(tmp_path / "work") as db:
        db["t"].insert({"n": 1})
        again = db.serve()
        assert (again.url, again.site_url) == (serving.url, serving.site_url)
        with livedb.connect(link) as ana:
            assert ana["t"].count() == 1


def test_the_site_is_found_where_it_was_although_it_is_not_beside_the_service(tmp_path):
    with livedb.open(tmp_path / "work") as db:
        port = int(db.serve().url.rpartition(":")[2])
    (tmp_path / "work" / "port").write_text(str(port))  # of a livedb that did not keep the site's
    with livedb.open(tmp_path / "work") as db, socket.socket() as beside:
        with suppress(OSError):  # somebody else has it, just as well
            beside.bind(("127.0.0.1", port + 1))
        elsewhere = db.serve().site_url
        assert not elsewhere.endswith(f":{port + 1}")
    with livedb.open(tmp_path / "work") as db:
        assert db.serve().site_url == elsewhere


def test_the_port_of_before_is_left_to_who_has_taken_it_and_that_is_said(tmp_path, caplog):
    with livedb.open(tmp_path / "work") as db:
        port = int(db.serve().url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), livedb.open(tmp_path / "work") as db:
        url = db.serve().url
        assert not url.endswith(f":{port}")
        assert f"port {port}, where it was served before, is not free" in caplog.text
    with livedb.open(tmp_path / "work") as db:
        assert db.serve().url == url


@pytest.mark.parametrize("kept", ["", "0", "-1", "70000", "x", "\xff", "8000 x", "8000 0"])
def test_a_port_that_was_kept_wrong_is_none(tmp_path, kept):
    with livedb.open(tmp_path / "work") as db:
        (tmp_path / "work" / "port").write_bytes(kept.encode("latin-1"))
        db.serve()


def test_pages_of_other_origins_come_in_when_they_are_named(db):
    serving = db.serve(allow_origins=["https://shop.example"])
    assert ask(serving.url, "/version", origin="https://shop.example")[0] == 200
    assert ask(serving.url, "/version", origin="https://evil.example")[0] == 403


def test_a_public_address_is_named_by_urls_and_answered_to(db):
    @db.mutation
    def where(ctx):
        return ctx.env["CONVEX_CLOUD_URL"], ctx.storage.generate_upload_url()

    serving = db.serve(public_url="https://live.example/shop/")
    place, upload = where()
    assert place == "https://live.example/shop"
    assert upload.startswith(f"{place}/api/storage/upload?token=")
    assert ask(serving.url, "/version", host="live.example")[0] == 200
    assert ask(serving.url, "/version", host="other.example")[0] == 403
    with pytest.raises(WorkspaceError, match="other settings"):
        db.serve(public_url="https://other.example")


def test_what_is_displayed_holds_no_token(db):
    invitation = db.invite(name="ann")
    serving = db.serve()
    with_link = db.invite(name="bob")
    shown = [repr(serving), serving._repr_html_(), repr(db), repr(db.invitations)]
    shown += [db.invitations._repr_html_(), repr(with_link.url), repr([with_link.token])]
    shown += [repr(invitation), repr(with_link), f"{with_link!r}"]
    for text in shown:
        assert str(invitation.token) not in text
        assert str(with_link.token) not in text
        assert "ldb_" not in text


def test_calls_from_many_threads_start_one_service(db):
    found = []
    threads = [threading.Thread(target=lambda: found.append(db.serve())) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(map(id, found))) == 1


def test_a_script_that_serves_ends_by_itself_though_others_are_connected(tmp_path):
    with Python(path=str(tmp_path / "work")) as script:
        script.run("db = livedb.open(path)\ndb.serve()\nlink = str(db.invite(name='ann').url)")
        with livedb.connect(script.run("print(link)")) as remote:
            remote["t"].insert({"n": 1})
            assert script.end() == 0
    with livedb.open(tmp_path / "work") as db:
        assert db["t"].count() == 1


def test_a_closed_workspace_is_not_served(tmp_path):
    db = livedb.open(tmp_path / "work")
    db.close()
    with pytest.raises(livedb.ClosedError):
        db.serve()


def test_a_wrong_token_is_refused(db):
    serving = db.serve()
    with pytest.raises(AuthenticationError):
        livedb.connect(serving.url, token="ldb_o_wrong")


def test_an_admin_key_opens_nothing_when_it_is_served_no_more(db):
    options = serve_options(
        "127.0.0.1", 0, auth=None, anonymous=False, allow_origins=(), admin_keys=["shop|0123456789"]
    )
    tokens = db.backend.workspace.invitations.tokens
    with db._sharing.serve_as(options):
        assert tokens.find("0123456789").name == "admin key"
    with pytest.raises(AuthenticationError):
        tokens.find("0123456789")


def test_what_functions_raise_is_hidden_from_clients_where_it_is_served_so(db):
    @db.query
    def quoting(ctx) -> int:
        raise RuntimeError("hush")

    @db.query
    def refusing(ctx) -> int:
        raise livedb.ApplicationError("closed today")

    call = {"path": "quoting", "args": {}, "format": "json"}
    with db.serve(anonymous=True, show_errors=False) as serving:
        _, answer = ask(serving.url, "/api/query", call)
        assert "Server Error" in answer
        assert "hush" not in answer
        with livedb.connect(db.invite("editor", name="Ana").url) as ana:
            for fail in (ana.function("quoting"), ana.function("quoting").live):
                with pytest.raises(livedb.RemoteError, match="Request ID") as caught:
                    getattr(fail(), "value", None)
                assert "hush" not in str(caught.value)
            with pytest.raises(livedb.ApplicationError, match="closed today"):
                ana.function("refusing")()
    for host, is_shown in (("127.0.0.1", True), ("::1", True), ("192.0.2.1", False)):
        assert serve_options(host, 0, **ASKED).shows_errors is is_shown


ASKED = {"auth": None, "anonymous": False, "allow_origins": ()}
