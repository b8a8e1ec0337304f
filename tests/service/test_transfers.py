"""Exports and imports over HTTP: who may, in what order, with what bounds, and what is left."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest

import livedb
from livedb.clock import ManualClock
from livedb.live.sources import FunctionSource
from livedb.service import transfers as module
from livedb.service.transfers import IMPORT, KEPT_S_MAX, LATEST_EXPORT, ImportOrder, Transfers
from livedb.workspace import Workspace
from tests.service.serving import ADMIN_KEY

ORDER = {"mode": "append", "format": "jsonLines", "tableName": "tasks"}
LINE = b'{"title": "one", "user": "ada", "n": 1}\n'


@pytest.fixture
def client(served):
    with httpx.Client(
        base_url=served.url, headers={"Authorization": f"Convex {ADMIN_KEY}"}, timeout=30
    ) as client:
        yield client


def left(served):
    return list(served.db.backend.workspace.files.staging.iterdir())


def query(client, path, **args):
    answer = client.post("/api/query", json={"path": path, "args": args}).json()
    assert answer["status"] == "success", answer
    return answer["value"]


def until(client, path, *states, **args):
    """The state of a job, once it is one of these."""
    for _ in range(2000):
        value = query(client, path, **args)
        found = value.get("state")
        state = found if isinstance(found, dict) else value
        if state["state"] in states:
            return state
        time.sleep(0.01)
    raise AssertionError(state)


def send(client, token, number, data):
    where = {"uploadToken": token, "partNumber": number}
    return client.post("/api/import/upload_part", params=where, content=data)


def start(client):
    return client.post("/api/import/start_upload").json()["uploadToken"]


def finish(client, token, parts, **order):
    body = {"import": {**ORDER, **order}, "uploadToken": token, "partTokens": parts}
    return client.post("/api/import/finish_upload", json=body)


def uploaded(client, data=LINE, **order):
    token = start(client)
    part = send(client, token, 1, data).json()
    return finish(client, token, [part], **order).json()["importId"]


def perform(client, import_id):
    return client.post("/api/perform_import", json={"importId": import_id})


@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", "/api/export/request/zip"),
        ("GET", "/api/export/zip/1"),
        ("POST", "/api/import/start_upload"),
        ("POST", "/api/import/upload_part"),
        ("POST", "/api/import/finish_upload"),
        ("POST", "/api/perform_import"),
    ],
)
def test_only_who_may_load_and_export_may_ask(served, method, path):
    assert httpx.request(method, served.url + path).status_code == 403


def test_an_import_waits_for_its_confirmation_and_is_one_commit(client, served):
    before = served.db.number
    import_id = uploaded(client)
    assert until(client, IMPORT, "waiting_for_confirmation", importId=import_id)
    assert served.db.number == before
    assert perform(client, import_id).status_code == 200
    done = until(client, IMPORT, "completed", importId=import_id)
    assert done["commit"] == before + 1
    assert [row.title for row in served.db["tasks"].collect()] == ["one"]
    assert left(served) == []
    again = perform(client, import_id)
    assert (again.status_code, again.json()["code"]) == (400, "ImportNotWaiting")


def test_who_asks_after_a_confirmation_is_not_told_that_it_is_waited_for(
    client, served, monkeypatch
):
    """Convex's command line asks anew, and would confirm a second time."""
    monkeypatch.setattr(Transfers, "_run_import", lambda *_: None)  # it waits for its turn
    import_id = uploaded(client)
    until(client, IMPORT, "waiting_for_confirmation", importId=import_id)
    workspace = served.db.backend.workspace
    source = FunctionSource(workspace.runner, IMPORT, {"importId": import_id})

    def followed():
        workspace.live.refresh()
        return query.state.result.value()["state"]["state"]

    query = workspace.live.follow(source)
    assert followed() == "waiting_for_confirmation"
    assert perform(client, import_id).status_code == 200
    assert followed() == "uploaded"


def test_a_part_sent_again_counts_once_and_a_gap_is_refused(client, served):
    token = start(client)
    assert send(client, token, 2, LINE).status_code == 400
    first = send(client, token, 1, LINE[:10]).json()
    assert send(client, token, 1, LINE[:20]).json() == first
    second = send(client, token, 2, LINE[20:]).json()
    assert finish(client, token, [first]).status_code == 400
    import_id = finish(client, token, [first, second]).json()["importId"]
    until(client, IMPORT, "waiting_for_confirmation", importId=import_id)
    perform(client, import_id)
    until(client, IMPORT, "completed", importId=import_id)
    assert len(served.db["tasks"].collect()) == 1


@pytest.mark.parametrize("number", ["0", "-1", "x", "", "10001", "٣", "9" * 30])
def test_what_is_no_part_number_is_refused(client, number):
    assert send(client, start(client), number, LINE).status_code == 400


def test_uploads_are_bounded_in_bytes_and_number(client, served, monkeypatch):
    from livedb.service import transfer_api

    monkeypatch.setattr(transfer_api, "UPLOAD_BYTES_MAX", 100)
    token = start(client)
    assert send(client, token, 1, b"x" * 90).status_code == 200
    assert send(client, token, 2, b"x" * 20).status_code == 413
    for _ in range(module.UPLOADS_MAX - 1):
        start(client)
    refused = client.post("/api/import/start_upload")
    assert refused.json()["code"] == "TooManyUploads"


@pytest.mark.parametrize(
    "order",
    [
        {"mode": "merge"},
        {"format": "xml"},
        {"tableName": None},
        {"format": "zip"},
        {"componentPath": "waitlist"},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(client, order):
    token = start(client)
    part = send(client, token, 1, LINE).json()
    assert finish(client, token, [part], **order).status_code == 400
    assert finish(client, "nope", [part]).json()["code"] == "UploadNotFound"


def test_an_import_that_fails_says_why_and_leaves_nothing(client, served):
    import_id = uploaded(client, b'{"title": 1}\n')
    until(client, IMPORT, "waiting_for_confirmation", importId=import_id)
    perform(client, import_id)
    failed = until(client, IMPORT, "failed", importId=import_id)
    assert "no column 'user'" in failed["error_message"]
    assert str(served.db.backend.workspace.files.staging) not in failed["error_message"]
    assert left(served) == []
    wrong = uploaded(client, b"no zip", format="zip", tableName=None)
    failed = until(client, IMPORT, "failed", importId=wrong)
    assert "the file" in failed["error_message"]
    assert str(served.db.backend.workspace.files.staging) not in failed["error_message"]


def test_the_options_of_our_own_reach_the_reader(client, served):
    import_id = uploaded(
        client,
        b"at,n\n2026-01-02 03:04:05,NA\n",
        format="csv",
        tableName="times",
        timeZone="UTC",
        nullValues=["NA"],
    )
    until(client, IMPORT, "waiting_for_confirmation", importId=import_id)
    perform(client, import_id)
    until(client, IMPORT, "completed", "failed", importId=import_id)
    (row,) = served.db["times"].collect()
    assert (row["n"], row["at"].year) == (None, 2026)


def test_an_export_is_kept_until_the_next(client, served):
    assert client.get("/api/export/zip/5").json()["code"] == "ExportNotFound"
    stamps = []
    for _ in range(2):
        assert client.post("/api/export/request/zip?includeStorage=false").status_code == 200
        state = until(client, LATEST_EXPORT, "completed")
        stamps.append(state["start_ts"])
        answer = client.get(f"/api/export/zip/{state['start_ts']}")
        assert answer.content[:2] == b"PK"
    assert len(left(served)) == 1
    assert client.get(f"/api/export/zip/{stamps[0]}").status_code == 400


def test_nothing_is_left_when_the_service_ends(client, served):
    files = served.db.backend.workspace.files.staging
    start(client)
    import_id = uploaded(client)
    until(client, IMPORT, "waiting_for_confirmation", importId=import_id)
    client.post("/api/export/request/zip")
    until(client, LATEST_EXPORT, "completed")
    assert len(left(served)) == 3
    served.thread.close()
    assert list(files.iterdir()) == []


def test_a_confirmed_import_that_waits_ends_with_the_service(tmp_path):
    async def scenario(workspace):
        transfers = Transfers(workspace)
        order = ImportOrder(mode="new", table="t", format="jsonl")
        import_id = transfers.finish_upload(transfers.start_upload(), order)
        transfers._jobs.submit(int).result()
        hold = threading.Event()
        transfers._jobs.submit(hold.wait)
        transfers.perform_import(import_id)
        transfers.close()
        hold.set()
        assert list(workspace.files.staging.iterdir()) == []

    with Workspace(tmp_path / "work") as workspace:
        asyncio.run(scenario(workspace))


def test_what_nobody_wants_any_more_is_removed(tmp_path):
    clock = ManualClock()

    async def scenario(workspace):
        transfers = Transfers(workspace)
        try:
            forgotten = transfers.start_upload()
            import_id = transfers.finish_upload(
                transfers.start_upload(), ImportOrder(mode="new", table="t", format="jsonl")
            )
            transfers.request_export()
            transfers._jobs.submit(int).result()  # one after another: the others are done
            assert len(list(workspace.files.staging.iterdir())) == 3
            clock.advance(KEPT_S_MAX - 1)
            transfers.sweep()
            assert len(list(workspace.files.staging.iterdir())) == 3
            clock.advance(2)
            transfers.sweep()
            assert list(workspace.files.staging.iterdir()) == []
            with pytest.raises(livedb.InvalidValueError):
                transfers.upload(forgotten)
            assert transfers._imports[import_id].state["state"] == "failed"
        finally:
            transfers.close()

    with Workspace(tmp_path / "work", clock=clock) as workspace:
        asyncio.run(scenario(workspace))


def test_what_a_killed_service_left_is_removed_by_the_next_open(tmp_path):
    with livedb.open(tmp_path / "work"):
        pass
    (tmp_path / "work" / "staging" / "transfer-0").write_text("half a file")
    with livedb.open(tmp_path / "work"):
        assert list((tmp_path / "work" / "staging").iterdir()) == []
