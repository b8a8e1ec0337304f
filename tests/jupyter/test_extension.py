"""Workspaces through a real Jupyter server: its port, its login, its path."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
from types import SimpleNamespace

import httpx
import psutil
import pytest
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import livedb
from livedb.auth.access import Caller, Role
from livedb.cli.main import app
from livedb.client import connection
from livedb.errors import (
    AuthenticationError,
    DisconnectedError,
    PermissionDeniedError,
    RemoteError,
    WorkspaceError,
)
from livedb.service.local_door import user_name
from livedb.service.vouching import HEADER, vouch
from tests.jupyter.servers import BASE, REPOSITORY, holder_of, jupyter
from tests.service.serving import Wire, run_npm, run_pypi
from tests.sharing.processes import Python
from tests.waiting import until

OWNER = {HEADER: vouch(Caller(role=Role.OWNER, name="forged"))}


WHO = "print(db.who().df[['name', 'role']].to_json(orient='records'))"
"""For a kernel: who is connected."""


def port_of(server):
    return httpx.URL(server.url).port


def socket_of(server, name, *, login=True, query="", max_queue=16, **headers):
    """A WebSocket to a workspace, opened by hand."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if login:
        given |= server.login
    url = server.of(name).replace("http", "ws", 1) + f"/api/1.48.0/sync{query}"
    return connect(
        url, additional_headers=given, max_size=None, compression=None, close_timeout=1,
        max_queue=max_queue,
    )  # fmt: skip


def wire(server, name, **options):
    assert server.ask("GET", f"livedb/{name}/version").status_code == 200  # it is started now
    path = f"{BASE}livedb/{name}/api/1.48.0/sync"
    return Wire(SimpleNamespace(port=port_of(server)), path, headers=server.login, **options)


def status_of(attempt):
    with pytest.raises(InvalidStatus) as refused, attempt():
        pass
    return refused.value.response.status_code


def opened(server, name, **options):
    return livedb.connect(server.of(name), token=server.token, **options)


# -- one workspace for all -------------------------------------------------------------------------


def test_two_clients_and_a_kernel_of_the_machine_see_the_same_commits(server, make):
    folder = make(server, "shared/birds")
    with opened(server, "shared/birds") as one, opened(server, "shared/birds") as two:
        one["seen"].insert({"n": 1})
        assert two["seen"].count() == 1
        followed = two["seen"].live()
        with Python(path=str(folder)) as kernel:
            kernel.run("db = livedb.open(path, shared=True)\ndb['seen'].insert({'n': 2})")
            until(lambda: len(followed) == 2)
            one["seen"].insert({"n": 3})
            assert kernel.run("print(db['seen'].count())") == "3"
            # The server started the service, and is not the process that has the workspace.
            assert holder_of(folder).pid not in {server.process.pid, kernel.pid, os.getpid()}


def test_a_kernel_that_serves_is_reached_with_the_functions_it_has(server, kernel):
    ana = kernel(server, "shop")
    with opened(server, "shop") as db:
        db.function("tasks:add")(title="one", user="ada")
        assert ana.run("print([row['title'] for row in db['tasks'].collect()])") == "['one']"
    answer = server.query("shop", "tasks:titles", user="ada")
    assert answer.json()["value"] == ["one"]
    assert holder_of(server.root / "shop").pid == ana.pid


def test_functions_of_cells_travel_through_it(server, make):
    make(server, "cells")
    with opened(server, "cells") as db:

        @db.mutation
        def see(ctx, n: int) -> int:
            ctx.db.insert("seen", {"n": n})
            return n * 2

        assert see(n=4) == 8
        assert server.mutate("cells", "see", n=5).json()["value"] == 10


def test_the_server_itself_loads_no_engine(server, make):
    make(server, "light")
    with opened(server, "light") as db:
        db["seen"].insert({"n": 1})
        loaded = {each.path for each in psutil.Process(server.process.pid).memory_maps()}
    for engine in ("duckdb", "pyarrow", "pandas"):
        assert not [path for path in loaded if engine in path]
    assert [path for path in loaded if "python" in path]


def test_names_with_spaces_and_other_letters_are_reached(server, make):
    make(server, "ein ordner/vögel %25")
    with opened(server, "ein%20ordner/v%C3%B6gel%20%2525") as db:
        db["seen"].insert({"n": 1})
    [listed] = [
        each
        for each in server.ask("GET", "livedb/").json()["workspaces"]
        if each["name"] == "ein ordner/vögel %25"
    ]
    with livedb.connect(listed["url"], jupyter_token=server.token) as db:
        assert db["seen"].count() == 1


# -- the login -------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_at_once_and_says_what_is_wanted(server, make):
    make(server, "door")
    for given in ({}, {"token": "wrong"}, {"jupyter_token": "wrong"}, {"token": "ldb_o_wrong"}):
        with pytest.raises(AuthenticationError, match="login: a token of the server") as refused:
            livedb.connect(server.of("door"), **given)
        assert "wrong" not in str(refused.value)


def test_nothing_passes_without_the_login(server, make):
    folder = make(server, "shut")
    with server.client() as client:
        for method, path in [
            ("GET", "livedb/"), ("GET", "livedb"), ("GET", "livedb/shut"), ("GET", "livedb/none"),
            ("POST", "livedb/shut/api/query"), ("PUT", "livedb/shut/x"), ("DELETE", "livedb/shut"),
            ("PATCH", "livedb/shut"), ("HEAD", "livedb/shut/version"),
        ]:  # fmt: skip
            for headers in ({}, OWNER, {"Authorization": "token wrong"}):
                answer = client.request(method, server.url + path, headers=headers)
                assert answer.status_code == 403, (method, path, headers)
                assert method == "HEAD" or answer.json()["code"] == "JupyterLogin"
        page = client.get(f"{server.url}livedb/", headers={"Accept": "text/html"})
        assert page.headers["location"].startswith(f"{BASE}login?")
    assert status_of(lambda: socket_of(server, "shut", login=False)) == 403
    assert status_of(lambda: socket_of(server, "shut", login=False, query="?token=no")) == 403
    # Nobody was asked who has it, and nothing was started.
    assert not (folder / "service.log").exists()


def test_the_token_may_stand_in_the_url(server, kernel):
    kernel(server, "url")
    with socket_of(server, "url", login=False, query=f"?token={server.token}"):
        pass
    with livedb.connect(f"{server.of('url')}?token={server.token}") as db:
        assert db.function("tasks:default")() == "the default function"
        assert server.token not in repr(db) + str(db.status) + db.backend.name


def test_a_page_that_is_logged_in_may_call_and_pages_of_elsewhere_may_not(server, kernel):
    kernel(server, "page")
    call = {"path": "tasks:titles", "args": {"user": "ada"}}
    here = server.url.removesuffix(BASE)
    with server.client() as page:
        page.get(f"{server.url}login")
        assert page.get(f"{server.url}api/me?token={server.token}").status_code == 200
        assert page.get(f"{server.url}livedb/").status_code == 200
        # A form of another page sends the cookie, and cannot read what must come with it.
        target = f"{server.of('page')}/api/query"
        assert page.post(target, json=call).status_code == 403
        known = {"X-XSRFToken": page.cookies["_xsrf"]}
        assert page.post(target, json=call, headers=known).json()["value"] == []
        elsewhere = {**known, "Origin": "https://evil.example"}
        refused = page.post(target, json=call, headers=elsewhere)
        assert (refused.status_code, refused.json()["code"]) == (403, "OriginNotAllowed")
        cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
        with socket_of(server, "page", login=False, cookie=cookie, origin=here):
            pass
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            ask = {"cookie": cookie, "origin": origin}
            assert status_of(lambda: socket_of(server, "page", login=False, **ask)) == 403  # noqa: B023


def test_pages_of_an_origin_that_the_server_lets_call_may_call_workspaces(viewing, kernel):
    kernel(viewing, "origin")
    shop = {"Origin": "https://shop.example"}
    with viewing.client() as page:
        preflight = page.options(
            f"{viewing.of('origin')}/api/query",
            headers={
                **shop,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,convex-client",
            },
        )
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example"
    allowed = preflight.headers["access-control-allow-headers"]
    assert {"authorization", "content-type", "convex-client"} <= set(allowed.split(", "))
    answer = viewing.query("origin", "tasks:default", headers=shop)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    with socket_of(viewing, "origin", origin=shop["Origin"]):
        pass


def test_another_name_of_the_host_is_refused_as_the_server_does(server, make):
    make(server, "host")
    answer = server.ask("GET", "livedb/", headers={"Host": "evil.example"})
    assert answer.status_code == 403


# -- who somebody is -------------------------------------------------------------------------------


def test_who_has_the_servers_token_is_its_user_and_the_owner(server, kernel):
    ana = kernel(server, "own")
    assert server.query("own", "tasks:me").json()["value"] == user_name()
    with opened(server, "own") as db:
        [here] = db.who().df.to_dict("records")
        assert here["name"].startswith("Anonymous ")
        assert (here["role"], here["client"]) == ("owner", "livedb")
        assert ana.run("print(list(db.who().df.role))") == "['owner']"
        invitation = db.invite("viewer", name="Vic")
        assert invitation.url == f"{server.of('own')}#token={invitation.token}"
    with livedb.connect(invitation.url, jupyter_token=server.token) as db:
        assert [each["name"] for each in json.loads(ana.run(WHO))] == ["Vic"]
    [listed] = [
        each for each in server.ask("GET", "livedb/").json()["workspaces"] if each["name"] == "own"
    ]
    assert (listed["running"], listed["state"]) == (True, "served")


def test_users_of_a_hub_have_their_names_and_the_roles_that_were_said(hub, kernel):
    ana = kernel(hub, "shop")
    roles = {}
    for name in ("ana", "ben", "vic", "rita"):
        as_one = {"Authorization": f"token {name}"}
        assert hub.query("shop", "tasks:me", headers=as_one).json()["value"] == name
        with livedb.connect(hub.of("shop"), jupyter_token=name):
            [here] = json.loads(ana.run(WHO))
        assert here["name"] == name
        roles[name] = here["role"]
        until(lambda: ana.run("print(len(db.who()))") == "0")
    # The authorizer lets Rita read, and no more.
    assert roles == {"ana": "owner", "ben": "member", "vic": "viewer", "rita": "viewer"}
    nora = {"Authorization": "token nora"}
    for path in ("livedb/", "livedb/shop", "livedb/nothing"):
        assert hub.ask("GET", path, headers=nora).status_code == 403
    assert status_of(lambda: socket_of(hub, "shop", login=False, query="?token=nora")) == 403


def test_the_list_tells_who_is_connected_to_who_may_know(hub, kernel):
    kernel(hub, "shop")
    with livedb.connect(hub.of("shop"), jupyter_token="ben"):
        seen = {}
        for name in ("ana", "vic"):
            answer = hub.ask("GET", "livedb/", headers={"Authorization": f"token {name}"})
            [seen[name]] = answer.json()["workspaces"]
        assert seen["ana"]["who"] == [{"name": "ben", "role": "member", "client": "livedb"}]
        assert seen["vic"]["who"] is None
        page = hub.ask(
            "GET", "livedb/", headers={"Authorization": "token ana", "Accept": "text/html"}
        )
    assert page.headers["content-type"] == "text/html"
    assert "<td>ben</td>" in page.text
    assert hub.of("shop") in page.text


def test_a_viewer_reads_and_changes_nothing_whatever_they_bring(viewing, kernel):
    ana = kernel(viewing, "shop")
    owners = ana.run("print(db.invite('owner', name='Ana').token)")
    assert viewing.query("shop", "tasks:titles", user="ada").json()["value"] == []
    add = {"title": "x", "user": "ada"}
    for headers in (
        {},
        OWNER,
        {HEADER.upper(): OWNER[HEADER]},
        {"X-Livedb-Authorization": f"Bearer {owners}"},
        {"X-Livedb-Authorization": f"Convex {owners}"},
        {"Connection": HEADER},
    ):
        answer = viewing.mutate("shop", "tasks:add", headers=headers, **add)
        assert "may not run mutations" in answer.text, headers
    asked = {"path": "tasks:add", "args": add}
    convex = {"Authorization": f"Convex {owners}"}
    with viewing.client() as client:
        target = f"{viewing.of('shop')}/api/mutation?token={viewing.token}"
        assert "may not run mutations" in client.post(target, json=asked, headers=convex).text
    with wire(viewing, "shop") as client:
        client.authenticate("User", owners)
        client.mutate(0, "tasks:add", add)
        heard = client.hear_all(lambda message: message["type"] == "MutationResponse")
        assert "may not run mutations" in heard[-1]["result"]
        client.authenticate("None")
        client.add(1, "tasks:me")
        client.settle()
        assert client.values[1] == user_name()
    with opened(viewing, "shop") as db:
        with pytest.raises((PermissionDeniedError, RemoteError), match="may not"):
            db.function("tasks:add")(**add)
        with pytest.raises((PermissionDeniedError, RemoteError), match="may not"):
            db.sql("select 1").df  # noqa: B018
    assert ana.run("print(db['tasks'].count())") == "0"


def test_a_second_request_in_the_body_of_the_first_is_no_request(viewing, kernel):
    ana = kernel(viewing, "shop")
    call = json.dumps({"path": "tasks:add", "args": {"title": "x", "user": "ada"}}).encode()
    hidden = (
        b"POST /api/mutation HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {len(call)}\r\n\r\n".encode() + call
    )  # fmt: skip
    query = json.dumps({"path": "tasks:default", "args": {}}).encode()
    head = (
        f"POST {BASE}livedb/shop/api/query HTTP/1.1\r\nHost: 127.0.0.1:{port_of(viewing)}\r\n"
        f"Authorization: token {viewing.token}\r\n"
    ).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(query), query)
    for framing, body in [
        (b"Content-Length: %d\r\n" % len(query), query + hidden),
        (b"Content-Length: %d\r\n" % len(query + hidden), query + hidden),
        (b"Transfer-Encoding: chunked\r\n", chunked + hidden),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked + hidden),
        (b"Transfer-Encoding:\tchunked\r\n", chunked + hidden),
        (b"Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n" % len(query), query + hidden),
        (b"Content-Length: 0\r\n", hidden),
        (b"Upgrade: websocket\r\nConnection: Upgrade\r\n", hidden),
        (b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n", hidden),
    ]:
        with socket.create_connection(("127.0.0.1", port_of(viewing)), 20) as raw:
            raw.sendall(head + framing + b"\r\n" + body)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65536):
                pass
    assert ana.run("print(db['tasks'].count())") == "0"
    assert viewing.query("shop", "tasks:titles", user="ada").json()["value"] == []


@pytest.mark.parametrize(
    "line, header, status",
    [
        (b"GET %s/version HTTP/1.1", b"User-Agent: caf\xe9", 200),
        (b"GET %s/version HTTP/1.1", b"Accept: a\r\nAccept: b", 200),
        (b"GET %s/\xff HTTP/1.1", b"X: y", 400),
        (b"GET %s/version?a=\xff HTTP/1.1", b"X: y", 400),
        (b"GET %s/version?a=%%ff&token=%%ff HTTP/1.1", b"X: y", 400),
        (b"GET %s/../../shut HTTP/1.1", b"X: y", 404),
        (b"GET %s/api/1.48.0/sync HTTP/1.1", b"Upgrade: websocket", 400),
        (b"GET %s/version HTTP/1.1", b"Upgrade: websocket\r\nConnection: Upgrade", 400),
        (b"BREW %s/version HTTP/1.1", b"X: y", 405),
        (b"OPTIONS %s/version HTTP/1.1", b"Origin: https://evil.example", 200),
    ],
)
def test_odd_requests_are_answered_and_break_nothing(viewing, kernel, line, header, status):
    kernel(viewing, "odd")
    where = f"{BASE}livedb/odd".encode()
    known = f"Host: 127.0.0.1:{port_of(viewing)}\r\nAuthorization: token {viewing.token}".encode()
    with socket.create_connection(("127.0.0.1", port_of(viewing)), 20) as raw:
        raw.sendall(b"\r\n".join([line % where, known, header, b"", b""]))
        answer = raw.recv(65536)
    assert int(answer.split(b" ")[1]) == status, answer
    assert "Traceback" not in viewing.log


def test_a_token_of_the_workspace_narrows_the_owner(server, kernel):
    ana = kernel(server, "narrow")
    viewers = ana.run("print(db.invite('viewer', name='Vic').token)")
    add = {"title": "x", "user": "ada"}
    with livedb.connect(server.of("narrow"), token=viewers, jupyter_token=server.token) as db:
        assert list(ana.run("print(*db.who().df.name)").split()) == ["Vic"]
        with pytest.raises((PermissionDeniedError, RemoteError), match="may not"):
            db.function("tasks:add")(**add)
    brought = {"X-Livedb-Authorization": f"Bearer {viewers}"}
    assert "may not" in server.mutate("narrow", "tasks:add", headers=brought, **add).text
    # Where the server was opened by its URL, the usual header is free for the workspace's token.
    with server.client() as client:
        target = f"{server.of('narrow')}/api/mutation?token={server.token}"
        body = {"path": "tasks:add", "args": add}
        answer = client.post(target, json=body, headers={"Authorization": f"Bearer {viewers}"})
        assert "may not" in answer.text
        wrong = {"Authorization": "Bearer ldb_v_wrong"}
        assert client.post(target, json=body, headers=wrong).status_code == 401
        assert client.post(target, json=body).json()["status"] == "success"
    revoked = ana.run("print(db.revoke(db.invitations[0].id).state)")
    assert revoked == "revoked"


# -- what is passed on -----------------------------------------------------------------------------


def test_pings_close_codes_and_long_messages_pass_as_they_are(server, kernel):
    kernel(server, "frames")
    with wire(server, "frames") as client:
        assert client.socket.ping().wait(20)
        client.add(1, "tasks:echo", {"value": "x" * 900_000})
        client.settle()
        assert client.values[1] == "x" * 900_000
        client.say("Nonsense")
        heard, code, reason = client.closed()
        assert heard[-1]["type"] == "FatalError"
        assert (code, reason) == (1002, "FatalError") or code in {1002, 1007, 1008}


def test_loads_and_large_results_pass_both_ways(server, make):
    make(server, "large")
    with opened(server, "large") as db:
        rows = [{"n": n, "text": "x" * 100} for n in range(100_000)]
        db.load("big", rows)
        assert db["big"].count() == 100_000
        texts = db.sql(
            "select (select string_agg(repeat('y', 1000000), '') from range(15)) as y from range(2)"
        ).df.y
        assert [len(text) for text in texts] == [15_000_000] * 2


def test_a_body_that_is_too_long_is_refused_and_not_kept(server, kernel):
    kernel(server, "long")
    body = b'{"path": "tasks:echo", "args": {"value": "' + b"x" * (20 << 20) + b'"}}'
    answer = server.ask("POST", "livedb/long/api/query", content=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "TooLarge")
    assert server.query("long", "tasks:default").json()["value"] == "the default function"


def test_a_reader_that_stalls_fills_neither_the_server_nor_anybodys_way(server, kernel):
    kernel(server, "stall")
    process = psutil.Process(server.process.pid)
    with socket_of(server, "stall", max_queue=1) as lazy, wire(server, "stall") as busy:
        before = process.memory_info().rss
        hello = {"sessionId": "lazy", "connectionCount": 0, "lastCloseReason": None}
        lazy.send(json.dumps({"type": "Connect", **hello}))
        big = {"requestId": 0, "udfPath": "tasks:big_action", "args": [{"kilobytes": 40_000}]}
        lazy.send(json.dumps({"type": "Action", **big}))
        for request in range(200):
            busy.mutate(request, "tasks:add", {"title": "x", "user": "ada"})
            busy.hear_all(lambda message: message["type"] == "MutationResponse")
        assert process.memory_info().rss - before < 20 << 20
        answer = json.loads(lazy.recv(60))
        assert (answer["type"], len(answer["result"])) == ("ActionResponse", 40_000)


def test_answers_of_a_workspace_do_not_run_as_pages_of_the_server(server, kernel):
    kernel(server, "csp")
    answer = server.ask("GET", "livedb/csp/")
    assert answer.text == "This livedb workspace is running."
    assert answer.headers["content-type"].startswith("text/plain")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


HOOKS = """
from starlette.responses import Response, StreamingResponse
import livedb

@db.http.route(path_prefix="/echo/", method=["GET", "PUT", "PATCH"])
async def echo(ctx, request):
    who = ctx.auth.get_user_identity()
    body = await request.body()
    said = {"method": request.method, "path": request.url.path, "query": request.url.query,
            "headers": sorted(request.headers.items()), "size": len(body),
            "who": None if who is None else who.subject}
    return livedb.json_response(said, 207)

@db.http.route(path="/bad", method="GET")
def bad(ctx, request):
    answer = Response("<script>", 418, media_type="text/html")
    for name in ("Set-Cookie", "Access-Control-Allow-Origin", "Content-Security-Policy",
                 "Clear-Site-Data", "X-Frame-Options", "X-Mine", "ETag", "Location"):
        answer.headers[name] = "a=b"
    return answer

@db.http.route(path="/parts", method="GET")
def parts(ctx, request):
    def made():
        for n in range(100):
            yield bytes(100_000)
    return StreamingResponse(made())
"""


def test_http_actions_are_under_the_workspace_and_behind_the_login(server, kernel):
    assert kernel(server, "hooks").run(HOOKS) == ""
    where = "livedb/hooks/http/echo/a%20b?x=1&x=2"
    given = {
        "X-Signature": "s", "Accept-Language": "de", "Cookie": "secret=in-a-cookie",
        "X-Forwarded-For": "1.2.3.4", "X-Real-Ip": "1.2.3.4", **OWNER,
    }  # fmt: skip
    answer = server.ask("PUT", where, headers=given, content=b"z" * 3_000_000)
    assert answer.status_code == 207
    said = answer.json()
    assert (said["method"], said["path"], said["query"]) == ("PUT", "/echo/a%20b", "x=1&x=2")
    assert (said["size"], said["who"]) == (3_000_000, user_name())
    heard = dict(said["headers"])
    assert heard["x-signature"] == "s"
    assert heard["accept-language"] == "de"
    for secret in (server.token, "in-a-cookie", "1.2.3.4", HEADER.lower(), "authorization"):
        assert secret not in json.dumps(said)
    with server.client(headers={"Authorization": ""}) as stranger:
        refused = stranger.get(f"{server.of('hooks')}/http/echo/a", follow_redirects=False)
    assert refused.status_code in (302, 403)
    missing = server.ask("GET", "livedb/hooks/http/nowhere")
    assert (missing.status_code, missing.text) == (404, "No matching routes found")
    long = server.ask("PUT", where, content=bytes((20 << 20) + 1))
    assert (long.status_code, long.json()["code"]) == (413, "TooLarge")
    assert len(server.ask("GET", "livedb/hooks/http/parts").content) == 10_000_000


def test_an_http_action_changes_nothing_of_the_servers_origin(server, kernel):
    assert kernel(server, "hooked").run(HOOKS) == ""
    answer = server.ask("GET", "livedb/hooked/http/bad")
    assert (answer.status_code, answer.text) == (418, "<script>")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert [answer.headers[name] for name in ("x-mine", "etag", "location")] == ["a=b"] * 3
    for name in ("access-control-allow-origin", "clear-site-data", "x-frame-options"):
        assert answer.headers.get(name) != "a=b"
    assert "a=b" not in answer.headers.get("set-cookie", "")


PAGES = """
import livedb
page = livedb.Cors(origins=["https://page.example", "https://shop.example"], headers=["X-Mine"])

@db.http.route(path="/origin", method="POST", cors=page)
def origin(ctx, request):
    return livedb.json_response(ctx.meta.get_request_metadata())
"""


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-mine"}
PAGED = "livedb/paged/http/origin"


def test_a_routes_cors_has_no_say_under_a_server(server, kernel):
    """It would open the server's own origin; the site port follows it."""
    assert kernel(server, "paged").run(PAGES) == ""
    page = {"Origin": "https://page.example"}
    with server.client() as stranger:
        # No preflight has a login, and none is led to it.
        preflight = stranger.options(f"{server.url}{PAGED}", headers={**page, **PREFLIGHT})
    assert preflight.status_code == 200
    assert "access-control-allow-origin" not in preflight.headers
    # To a page that brings its token without needing a preflight a server answers as it does
    # everywhere, whether the route names the page or not.
    for origin in ("https://page.example", "https://other.example"):
        answer = server.ask("POST", PAGED, headers={"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        assert "access-control-expose-headers" not in answer.headers


def test_pages_of_an_origin_that_the_server_lets_call_may_call_its_http_actions(viewing, kernel):
    assert kernel(viewing, "paged").run(PAGES) == ""
    shop = {"Origin": "https://shop.example"}
    with viewing.client() as stranger:
        preflight = stranger.options(f"{viewing.url}{PAGED}", headers={**shop, **PREFLIGHT})
    assert preflight.headers["access-control-allow-origin"] == shop["Origin"]
    # With the headers that the server lets them set, whatever the route has.
    assert "x-mine" not in preflight.headers["access-control-allow-headers"].lower()
    answer = viewing.ask("POST", PAGED, headers={**shop, "User-Agent": "shop/1"})
    assert answer.headers["access-control-allow-origin"] == shop["Origin"]
    assert (answer.json()["ip"], answer.json()["userAgent"]) == ("127.0.0.1", "shop/1")


UPLOADS = """
@db.mutation
def upload_url(ctx):
    return ctx.storage.generate_upload_url()

@db.query
def file_url(ctx, file: str):
    return ctx.storage.get_url(file)
"""


def test_files_go_up_by_their_url_and_come_down_in_parts_and_once(server, kernel):
    assert kernel(server, "files").run(UPLOADS) == ""
    where = httpx.URL(server.mutate("files", "upload_url").json()["value"])
    # More than the server lets pass by itself is not sent here: that takes too long.
    content = bytes(range(256)) * 100_000
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    path = f"livedb/files{where.path}?{where.query.decode()}"
    given = {"Content-Type": "image/png", "Digest": f"sha-256={digest}"}
    wrong = {**given, "Digest": f"sha-256={digest[::-1]}"}
    assert server.ask("POST", path, headers=wrong, content=content).status_code == 400
    sent = server.ask("POST", path, headers=given, content=content)
    assert sent.status_code == 200
    assert server.ask("POST", path, headers=given, content=content).status_code in (401, 403)

    url = server.query("files", "file_url", file=sent.json()["storageId"]).json()["value"]
    path = f"livedb/files{httpx.URL(url).path}"
    whole = server.ask("GET", path)
    assert (whole.status_code, whole.content == content) == (200, True)
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["accept-ranges"] == "bytes"
    etag = whole.headers["etag"]
    told = server.ask("HEAD", path)
    assert (told.headers["etag"], told.headers["content-length"]) == (etag, str(len(content)))
    known = server.ask("GET", path, headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    part = server.ask("GET", path, headers={"Range": "bytes=1-3", "If-Range": etag})
    assert (part.status_code, part.content) == (206, content[1:4])
    assert part.headers["content-range"] == f"bytes 1-3/{len(content)}"
    beyond = server.ask("GET", path, headers={"Range": "bytes=99999999-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(content)}")


def test_an_upload_url_is_no_login(server, kernel):
    assert kernel(server, "uploads").run(UPLOADS) == ""
    where = httpx.URL(server.mutate("uploads", "upload_url").json()["value"])
    with server.client(headers={"Authorization": ""}) as stranger:
        for token in (where.params["token"], server.token):
            url = f"{server.of('uploads')}{where.path}?token={token}"
            assert stranger.post(url, content=b"x").status_code == 403
    sent = server.ask("POST", f"livedb/uploads{where.path}?{where.query.decode()}", content=b"x")
    assert sent.status_code == 200


def test_the_servers_secrets_go_no_further(server, make):
    """What stands there in place of a service is shown what one would be."""
    folder = make(server, "spy")
    with Python(path=str(folder)) as spy:
        spy.run("from tests.jupyter import spying\nspying.hold(path)")
        spy.begin("print(spying.heard_one())")
        with server.client(cookies={"secret": "in-a-cookie"}) as client:
            client.get(
                f"{server.of('spy')}/api/query?path=a&token={server.token}&args=%7B%7D",
                headers={"X-Forwarded-For": "1.2.3.4", "X-Own": "x", **OWNER},
            )
        heard = spy.finish()
    assert "GET /api/query?path=a&args=%7B%7D HTTP/1.1" in heard
    for secret in (server.token, "in-a-cookie", "1.2.3.4", "X-Own", OWNER[HEADER]):
        assert secret.lower() not in heard.lower()
    assert heard.lower().count(HEADER.lower()) == 1
    vouched = json.loads(base64.urlsafe_b64decode(heard.split(f"{HEADER}: ")[1].split("\\r")[0]))
    assert vouched["identity"]["subject"] == user_name()


# -- official clients and the command line ---------------------------------------------------------


def test_the_npm_clients_work_through_it(server, kernel):
    kernel(server, "npm")
    report = run_npm("scenarios.mjs", "behind_a_login", server.of("npm"), server.token)
    assert report["seen"] == [[], ["one"]]
    assert report["http"] == ["one", "two"]
    assert report["me"] == user_name()


def test_the_pypi_client_over_http_works_through_it(server, kernel):
    kernel(server, "pypi")
    # The other one keeps of a URL only the host: it asks the server for `/api/sync`.
    assert run_pypi("behind_a_login", server.of("pypi"), server.token) == ["one"]


def test_the_command_line_works_through_it(server, kernel, tmp_path):
    kernel(server, "line")
    runner = CliRunner()

    def run(*args):
        done = runner.invoke(app, [str(each) for each in args])
        assert done.exit_code == 0, (done.stdout, done.stderr, done.exception)
        return done.stdout

    where = ["--url", f"{server.of('line')}?token={server.token}"]
    run("run", *where, "tasks:add", '{"title": "one", "user": "ada"}')
    assert "one" in run("data", *where, "tasks")
    run("env", "set", *where, "A", "1")
    assert run("env", "get", *where, "A").strip() == "1"
    run("export", *where, "--path", tmp_path / "out.zip")
    rows = "\n".join(json.dumps({"title": f"t{n}", "user": "bob"}) for n in range(100))
    (tmp_path / "rows.jsonl").write_text(rows)
    run("import", *where, tmp_path / "rows.jsonl", "--table", "tasks", "--append")
    assert "101" in run("sql", *where, "select count(*) as n from tasks", "--csv")


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_notebook_that_does_not_serve_is_named_with_what_to_do(server, make, monkeypatch):
    folder = make(server, "held")
    with Python(path=str(folder)) as notebook:
        notebook.run("db = livedb.open(path)")
        answer = server.query("held", "x")
        assert (answer.status_code, answer.json()["code"]) == (409, "WorkspaceLocked")
        assert answer.json()["message"] == (
            f"'held' is open in process {notebook.pid}, which does not serve it. Call db.serve() "
            "in the notebook that has it open, or open it there with livedb.open(path, "
            "shared=True)."
        )
        assert status_of(lambda: socket_of(server, "held")) == 409
        monkeypatch.setattr(connection, "CONNECT_S_MAX", 1.5)
        with pytest.raises(
            DisconnectedError, match=r"cannot be used now: 'held' is open .*serve\(\)"
        ):
            opened(server, "held")
        [state] = [
            each["state"]
            for each in server.ask("GET", "livedb/").json()["workspaces"]
            if each["name"] == "held"
        ]
        assert state == "open in a process that does not serve it"
        monkeypatch.undo()
        notebook.run("db.serve()")
        with opened(server, "held") as db:
            db["seen"].insert({"n": 1})
        assert notebook.run("print(db['seen'].count())") == "1"


def test_where_no_workspace_is_nothing_is_made(server):
    (server.root / "plain").mkdir(exist_ok=True)
    for name in ("nothing", "plain", "plain/..", "..%2F..%2Fetc", ".hidden"):
        answer = server.query(name, "x")
        assert (answer.status_code, answer.json()["code"]) == (404, "NoWorkspace")
    with pytest.raises(WorkspaceError, match="There is no workspace at this path") as refused:
        opened(server, "plain")
    assert refused.value.code == "NoWorkspace"
    assert list((server.root / "plain").iterdir()) == []


def test_a_service_that_is_killed_is_started_again_and_clients_come_back(server, make):
    folder = make(server, "killed")
    with opened(server, "killed") as db, wire(server, "killed") as other:
        db["seen"].insert({"n": 1})
        first = holder_of(folder).pid
        os.kill(first, signal.SIGKILL)
        _, code, _ = other.closed()
        assert code is None  # the connection broke: every client takes that for "come again"
        db["seen"].insert({"n": 2})
        assert db["seen"].count() == 2
        assert holder_of(folder).pid != first


def test_a_service_that_ends_says_come_again(server, make):
    folder = make(server, "ended")
    with wire(server, "ended") as client:
        os.kill(holder_of(folder).pid, signal.SIGTERM)
        assert client.closed()[1] in {1001, 1012}  # going away; restarting
    assert server.ask("GET", "livedb/ended/version").status_code == 200


def test_many_who_come_at_once_start_one_service(server, make):
    folder = make(server, "once")
    given = {"url": server.of("once"), "token": server.token}
    with Python(**given) as one, Python(**given) as two:
        for each in (one, two):
            each.begin("db = livedb.connect(url, token=token)\ndb['t'].insert({'n': 1})")
        assert (one.finish(), two.finish()) == ("", "")
        assert one.run("print(db['t'].count())") == "2"
    assert (folder / "service.log").read_text().count(" serves ") == 1


def test_a_service_outlives_the_server_that_started_it(tmp_path, make):
    with jupyter(tmp_path, env={"LIVEDB_IDLE_S": "0.5"}) as server:
        folder = make(server, "kept")
        with opened(server, "kept") as db:
            db["t"].insert({"n": 1})
            here = livedb.open(folder, shared=True)
        server.process.terminate()
        server.process.wait(60)
        with here:
            assert here["t"].count() == 1
        until(lambda: holder_of(folder) is None)  # nobody was left


def test_a_server_that_lacks_what_serving_needs_says_so(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['uvicorn'] = None\n")
    hidden = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    with jupyter(tmp_path, env={"PYTHONPATH": hidden}) as server:
        assert server.ask("GET", "livedb/").status_code != 200
        assert "uvicorn is not installed. Install livedb[service]" in server.log


def test_a_service_that_cannot_start_says_why(server, make):
    folder = make(server, "broken")
    (folder / "log").write_bytes(b"not a log" * 1000)
    answer = server.query("broken", "x")
    assert (answer.status_code, answer.json()["code"]) == (503, "ServiceNotStarted")
    assert "damaged" in answer.json()["message"]


def test_another_version_is_not_asked(server, make, monkeypatch):
    folder = make(server, "versions")
    with livedb.open(folder) as db:
        monkeypatch.setattr("livedb.sharing.serving.__version__", "0.0.9")
        db.serve()
        answer = server.query("versions", "x")
        assert (answer.status_code, answer.json()["code"]) == (503, "VersionMismatch")


def test_a_workspace_whose_folder_goes_is_not_there_any_more(server, make):
    folder = make(server, "going")
    with wire(server, "going"):
        service = holder_of(folder).pid
        shutil.rmtree(folder)
        assert server.query("going", "x").status_code == 404
        os.kill(service, signal.SIGKILL)


def test_a_client_that_goes_is_no_longer_connected(server, kernel):
    ana = kernel(server, "leaving")
    with socket_of(server, "leaving") as client:
        until(lambda: ana.run("print(len(db.who()))") == "1")
        client.socket.shutdown(socket.SHUT_RDWR)
        with pytest.raises(ConnectionClosed):
            client.recv(20)
    until(lambda: ana.run("print(len(db.who()))") == "0")
