"""The HTTP API as plain callers use it."""

from __future__ import annotations

import contextlib
import json
import socket

import httpx
import pytest

from livedb.limits import AUTH_FAILURES_MAX
from tests.service.serving import ADMIN_KEY, Wire, token

FAR = 4e9
BEARER = f"Bearer {token('ada', FAR)}"


@pytest.fixture
def http(served):
    with httpx.Client(base_url=served.url) as client:
        yield client


def call(http, path, name, args=None, **options):
    headers = options.pop("headers", {})
    body = {"path": name, "args": {} if args is None else args, **options}
    return http.post(path, json=body, headers=headers)


def value(response):
    assert response.status_code == 200, response.text
    return response.json()["value"]


def test_functions_are_called_by_kind_and_a_query_by_get_too(http):
    assert value(call(http, "/api/mutation", "tasks:add", {"title": "one", "user": "ada"}))
    assert value(call(http, "/api/query", "tasks:titles", {"user": "ada"})) == ["one"]
    assert value(call(http, "/api/action", "tasks:work", {"user": "ada"})) == 2
    given = {"path": "tasks:titles", "args": json.dumps({"user": "ada"})}
    assert value(http.get("/api/query", params=given)) == ["one", "by action"]
    for name in ("tasks:titles", "tasks:work"):
        assert value(call(http, "/api/function", name, {"user": "b"})) in ([], 1)


def test_a_function_of_another_kind_is_an_error_that_says_so(http):
    answer = call(http, "/api/query", "tasks:add", {"title": "one", "user": "ada"}).json()
    assert answer["status"] == "error"
    assert "as a Query, but it is defined as a Mutation" in answer["errorMessage"]


def test_a_cursor_that_is_none_is_told_to_clients_in_the_data_of_the_error(http, served):
    @served.db.query(name="tasks:paged")
    def paged(ctx, cursor: str):
        return ctx.db.query("tasks").paginate(num_items=1, cursor=cursor)

    answer = call(http, "/api/query", "tasks:paged", {"cursor": "none"}).json()
    assert answer["status"] == "error"
    assert answer["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}


def test_run_takes_module_and_function_from_the_path(http):
    body = {"args": {"user": "ada"}}
    assert value(http.post("/api/run/tasks/titles", json=body)) == []
    assert value(http.post("/api/run/tasks", json={})) == "the default function"


def test_arguments_may_stand_in_an_array_of_one(http):
    assert value(call(http, "/api/query", "tasks:titles", [{"user": "ada"}])) == []
    assert value(call(http, "/api/query", "tasks", [])) == "the default function"
    refused = call(http, "/api/query", "tasks", [{}, {}])
    assert refused.status_code == 400
    assert refused.json()["code"] == "BadRequest"


SPECIAL = {
    "value": [{"$integer": "AQAAAAAAAAA="}, {"$bytes": "AP8="}, {"$float": "AAAAAAAA8H8="}, 3]
}


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"format": "convex_encoded_json"}, SPECIAL["value"]),
        ({"format": "convex_json"}, SPECIAL["value"]),
        ({"format": "json"}, ["1", "AP8=", "Infinity", 3]),
        ({}, ["1", "AP8=", "Infinity", 3]),
        ({"headers": {"convex-client": "npm-1.48.0"}}, SPECIAL["value"]),
        ({"headers": {"convex-client": "python-0.8.1"}}, SPECIAL["value"]),
    ],
)
def test_the_format_is_the_one_asked_for_or_the_clients(http, options, expected):
    assert value(call(http, "/api/query", "tasks:echo", SPECIAL, **options)) == expected


def test_whole_numbers_are_written_with_a_point(http):
    for form in ("json", "convex_encoded_json"):
        answer = call(http, "/api/query", "tasks:echo", {"value": 3}, format=form)
        assert '"value":3.0' in answer.text


def test_an_error_of_the_function_is_a_result_and_its_data_travels(http):
    answer = call(http, "/api/mutation", "tasks:fail").json()
    assert answer["status"] == "error"
    assert answer["errorData"] == {"why": "because"}
    # The message is the data: a text as it is, all else as JSON (semantics.md 14).
    assert answer["errorMessage"].endswith('Uncaught ConvexError: {\n  "why": "because"\n}')
    answer = call(http, "/api/query", "tasks:crash").json()
    assert "RuntimeError: a bug of the application" in answer["errorMessage"]
    assert "errorData" not in answer


@pytest.mark.parametrize(
    "body, status, code",
    [
        (b"{", 400, "BadRequest"),
        (b"[]", 400, "BadRequest"),
        (b"{}", 400, "BadRequest"),
        (b'{"path": "tasks", "args": {}, "format": "xml"}', 400, "BadRequest"),
        (b" " * ((16 << 20) + 1), 413, "TooLarge"),
    ],
)
def test_what_is_wrong_with_a_request_has_a_status_and_a_code(http, body, status, code):
    answer = http.post("/api/query", content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]


@pytest.mark.parametrize("args", ['{"$integer": "x"}', '"text"', "7", '{"user": "\\ud800"}'])
def test_arguments_that_are_no_values_fail_the_call_alone(http, args):
    content = f'{{"path": "tasks:titles", "args": {args}}}'
    answer = http.post("/api/query", content=content)
    assert answer.status_code in {200, 400}
    assert answer.json().get("status", "error") == "error"
    assert value(call(http, "/api/query", "tasks")) == "the default function"


@pytest.mark.parametrize(
    "authorization, code",
    [
        ("Bearer none", "InvalidAuthHeader"),
        (f"Bearer {token('ada', 1)}", "IdTokenExpired"),
        ("Convex wrong", "Unauthenticated"),
        ("Basic YTpi", "InvalidAuthHeader"),
    ],
)
def test_a_token_that_proves_nothing_is_refused(http, authorization, code):
    answer = call(http, "/api/query", "tasks", headers={"authorization": authorization})
    assert (answer.status_code, answer.json()["code"]) == (401, code)


NO_TOKENS = {
    "nothing": b"",
    "no secret": b"Bearer ",
    "a NUL": b"Bearer a\x00b",
    "a megabyte": b"Bearer " + b"x" * (1 << 20),
    "a key of a megabyte": b"Convex " + b"x" * (1 << 20),
    "no letters": b"Bearer \xff\xfe",
}


@pytest.mark.parametrize("what", NO_TOKENS)
def test_what_is_no_token_at_all_opens_nothing(served, what):
    """Where somebody else waits for an answer, too; whole heads of this length are refused."""
    with socket.create_connection(("127.0.0.1", served.port), 20) as raw:
        head = b"POST /api/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
        with contextlib.suppress(ConnectionError):
            raw.sendall(head + b"Authorization: " + NO_TOKENS[what] + b"\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = raw.recv(1000)
    status = answer.partition(b"\r\n")[0]
    assert not status or status.split()[1] in {b"400", b"401", b"431"}, status
    assert httpx.get(f"{served.url}/version").text == "livedb"


@pytest.mark.parametrize("secret", ["", "\x00", "x" * (1 << 20)], ids=["empty", "NUL", "megabyte"])
def test_what_is_no_token_at_all_is_refused_on_a_connection(served, secret):
    with Wire(served) as wire, Wire(served) as other:
        wire.authenticate("User", secret)
        refused = wire.hear_all(lambda message: message["type"] == "AuthError")[-1]
        assert refused["baseVersion"] == 0
        other.add(0, "tasks")
        assert other.transition()[-1]["modifications"][0]["value"] == "the default function"


def test_a_token_says_who_calls_and_an_admin_key_reaches_internal_functions(http):
    bearer = {"authorization": f"Bearer {token('ada', FAR)}"}
    assert value(call(http, "/api/query", "tasks:me", headers=bearer)) == "ada"
    assert value(call(http, "/api/mutation", "tasks:whoami", headers=bearer)) == "ada"
    admin = {"authorization": f"Convex {ADMIN_KEY}"}
    assert value(call(http, "/api/function", "tasks:secret", headers=admin)) == "internal"
    answer = call(http, "/api/function", "tasks:secret").json()
    assert "Could not find public function for 'tasks:secret'" in answer["errorMessage"]


def test_a_key_in_the_url_opens_nothing(http):
    for name in ("token", "authorization", "adminKey"):
        params = {"path": "tasks:secret", "args": "{}", name: ADMIN_KEY}
        answer = http.get("/api/query", params=params).json()
        assert "Could not find public function for 'tasks:secret'" in answer["errorMessage"]


def test_a_query_at_a_timestamp_reads_what_was_then(http):
    ts = http.post("/api/query_ts").json()["ts"]
    call(http, "/api/mutation", "tasks:add", {"title": "one", "user": "ada"})
    then = call(http, "/api/query_at_ts", "tasks:titles", {"user": "ada"}, ts=ts)
    assert value(then) == []
    newest = http.post("/api/query_ts").json()["ts"]
    assert value(call(http, "/api/query_at_ts", "tasks:titles", {"user": "ada"}, ts=newest)) == [
        "one"
    ]
    for wrong, code in [
        ("/////////38=", "TimestampInFuture"),
        ("x", "BadRequest"),
    ]:
        refused = call(http, "/api/query_at_ts", "tasks", ts=wrong)
        assert (refused.status_code, refused.json()["code"]) == (400, code)


def test_a_batch_of_queries_is_one_snapshot(http):
    call(http, "/api/mutation", "tasks:add", {"title": "one", "user": "ada"})
    queries = [
        {"path": "tasks:titles", "args": {"user": "ada"}},
        {"path": "tasks:nope", "args": {}},
        {"path": "tasks", "args": {}},
    ]
    first, second, third = http.post("/api/query_batch", json={"queries": queries}).json()[
        "results"
    ]
    assert (first["value"], third["value"]) == (["one"], "the default function")
    assert second["status"] == "error"


def test_the_plain_texts_and_telemetry_answer(http):
    for path in ("/", "/version", "/instance_name", "/instance_version"):
        assert http.get(path).status_code == 200
        assert http.get(path).headers["content-type"].startswith("text/plain")
    assert http.post("/api/debug_event", content=b"anything").status_code == 200


def test_a_doubled_slash_is_as_one(http, served):
    assert http.get(f"{served.url}//version").text == "livedb"


@pytest.mark.parametrize(
    "headers, status",
    [({}, 403), ({"authorization": "Convex wrong"}, 401), ({"authorization": BEARER}, 403)],
    ids=["nobody", "a wrong key", "a user"],
)
def test_what_is_for_administrators_is_refused_to_others(http, headers, status):
    changes = {"changes": [{"name": "A", "value": "1"}]}
    update = http.post("/api/update_environment_variables", json=changes, headers=headers)
    logs = http.get("/api/stream_function_logs", params={"cursor": 0}, headers=headers)
    assert (update.status_code, logs.status_code) == (status, status)
    admin = {"authorization": f"Convex {ADMIN_KEY}"}
    assert (
        value(call(http, "/api/function", "_system/cli/queryEnvironmentVariables", headers=admin))
        == []
    )


def test_an_address_that_sends_wrong_tokens_is_held_off_for_a_while(http):
    wrong = {"authorization": "Bearer livedb_wrong"}
    for _ in range(10 * AUTH_FAILURES_MAX):  # some are forgiven meanwhile
        answer = call(http, "/api/query", "tasks", headers=wrong)
        if answer.status_code != 401:
            break
    assert answer.status_code == 429
    held_off = call(http, "/api/query", "tasks", headers={"authorization": BEARER})
    assert (held_off.status_code, held_off.json()["code"]) == (429, "TooManyFailures")
    assert int(held_off.headers["retry-after"]) >= 1
    assert value(call(http, "/api/query", "tasks")) == "the default function"


def test_a_function_learns_from_where_it_was_called_and_what_it_calls_does_too(served, http):
    db = served.db

    @db.mutation(name="meta:change")
    def change(ctx):
        return ctx.meta.get_request_metadata()

    @db.action(name="meta:act")
    def act(ctx):
        return [ctx.meta.get_request_metadata(), ctx.run_mutation("meta:change")]

    told = {
        "ip": "127.0.0.1", "userAgent": "shop/1 (é)",
        "requestId": None, "scheduledFunctionId": None,
    }  # fmt: skip
    headers = {"user-agent": "shop/1 (é)".encode("latin-1")}
    assert value(call(http, "/api/mutation", "meta:change", headers=headers)) == told
    assert value(call(http, "/api/action", "meta:act", headers=headers)) == [told, told]
    without = [each for each in http.headers if each != "user-agent"]
    bare = httpx.Request(
        "POST",
        f"{served.url}/api/mutation",
        json={"path": "meta:change", "args": {}},
        headers={name: http.headers[name] for name in without},
    )
    assert value(http.send(bare)) == {**told, "userAgent": None}
    behind_proxy = {**headers, "x-forwarded-for": "203.0.113.9"}
    told_by_proxy = value(call(http, "/api/mutation", "meta:change", headers=behind_proxy))
    assert told_by_proxy == {**told, "ip": "203.0.113.9"}
