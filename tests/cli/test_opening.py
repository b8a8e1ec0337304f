"""Workspaces as commands are given them."""

from __future__ import annotations

import pytest

URL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "command",
    [
        ["data", URL, "tasks"],
        ["sql", URL, "select 1"],
        ["run", URL, "tasks:add"],
        ["export", URL, "--path", "out.zip"],
        ["import", URL, "in.zip"],
        ["logs", URL],
    ],
)
def test_a_url_in_place_of_a_path_is_led_to_its_option(run, command):
    assert "--url" in run(*command, code=2).stderr


@pytest.mark.parametrize("command", [["check", URL], ["token", "list", URL], ["serve", URL]])
def test_a_command_of_folders_says_that_it_takes_no_url(run, command):
    said = run(*command, code=2).stderr
    assert "URL" in said
    assert "folder" in said
