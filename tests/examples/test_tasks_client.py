"""The script of `examples/tasks`, on the PyPI package `convex`, against a served workspace."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.examples.serving import EXAMPLE, TasksService


@pytest.fixture
def service(tmp_path):
    service = TasksService(tmp_path)
    yield service
    service.kill()


def run_script(service, *arguments):
    """The lines that the script prints."""
    command = [sys.executable, str(EXAMPLE / "client.py"), "--url", service.url, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_script_adds_a_task_and_prints_the_newest(service):
    assert run_script(service, "--changes", "1", "Write it down") == ["[ ] Write it down"]
    assert run_script(service, "--changes", "1", "Do it") == ["[ ] Do it | [ ] Write it down"]


def test_the_script_prints_what_another_one_adds(service):
    command = [sys.executable, str(EXAMPLE / "client.py"), "--url", service.url, "--changes", "2"]
    with subprocess.Popen([*command, "First"], stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout.readline() == "[ ] First\n"
        run_script(service, "--changes", "1", "Second")
        assert follower.stdout.readline() == "[ ] Second | [ ] First\n"
        assert follower.wait(60) == 0
