"""The webhook of `examples/tasks`, called as its README does it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

import livedb
from tests.examples.serving import TasksService

SECRET = "a-secret"


@pytest.fixture
def service(tmp_path):
    livedb.open(tmp_path / "tasks.livedb").close()
    command = [sys.executable, "-c", "from livedb.cli.main import main; main()", "env", "set"]
    subprocess.run([*command, tmp_path / "tasks.livedb", "HOOK_SECRET", SECRET], check=True)
    service = TasksService(tmp_path)
    yield service
    service.kill()


def called(service, body, secret=SECRET):
    request = urllib.request.Request(
        f"{service.site_url}/hooks/tasks", json.dumps(body).encode(), {"x-hook-secret": secret}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_hook_adds_a_task_for_whoever_has_its_secret(service):
    assert called(service, {"title": "one"}, secret="wrong")[0] == 401
    assert called(service, {"title": "one"}, secret="")[0] == 401
    for body in ([], 3, {}, {"author": "x"}):
        assert called(service, body)[0] == 400
    status, answer = called(service, {"title": "From a hook", "author": "ada"})
    assert status == 201
    with livedb.open(service.folder / "tasks.livedb") as db:  # through the service
        [task] = db["tasks"].collect()
    assert (task["_id"], task["title"], task["author"]) == (answer["task"], "From a hook", "ada")
