"""From a URL's path to a workspace of the server's folder, and nowhere else."""

from __future__ import annotations

import os

import pytest

from livedb.jupyter import folders
from livedb.jupyter.folders import find_workspace, list_workspaces
from livedb.workspace_files import MARK_NAME, MARK_TEXT


def make(folder):
    folder.mkdir(parents=True)
    (folder / MARK_NAME).write_text(MARK_TEXT)
    return folder


@pytest.fixture
def root(tmp_path):
    make(tmp_path / "elsewhere")
    top = tmp_path / "root"
    for name in (
        "birds",
        "shared/birds",
        "a b/fünf %",
        ".hidden/birds",
        "shared/.birds",
        "api/api",
    ):
        make(top / name)
    (top / "empty").mkdir()
    (top / "file.txt").write_text("x")
    (top / "out").symlink_to(tmp_path / "elsewhere")
    (top / "up").symlink_to(tmp_path)
    (top / "inside").symlink_to(top / "shared")
    (top / "peek").symlink_to(top / ".hidden")
    return top


def found(root, raw, *, hidden=False):
    place = find_workspace(root, raw, shows_hidden=hidden)
    return None if place is None else (place.name, place.rest)


@pytest.mark.parametrize(
    "raw, place",
    [
        ("birds", ("birds", "/")),
        ("birds/", ("birds", "/")),
        ("birds//api/1.48.0/sync", ("birds", "/api/1.48.0/sync")),
        ("shared/birds/api/query", ("shared/birds", "/api/query")),
        ("shared//birds/api/query", ("shared/birds", "/api/query")),
        ("api/api/api/query", ("api/api", "/api/query")),
        ("a%20b/f%C3%BCnf%20%25/api/run/x%2Fy", ("a b/fünf %", "/api/run/x%2Fy")),
        ("inside/birds", ("inside/birds", "/")),
        ("up/root/birds", ("up/root/birds", "/")),  # it ends inside
        ("birds/../../elsewhere", ("birds", "/../../elsewhere")),  # for its service to refuse
    ],
)
def test_a_path_is_a_workspace_and_what_stands_behind_it(root, raw, place):
    assert found(root, raw) == place


@pytest.mark.parametrize(
    "raw",
    [
        "", "/", "nothing", "empty", "empty/api/query", "file.txt", "file.txt/api", "shared",
        "..", "../elsewhere", "%2e%2e/elsewhere", "shared/../../elsewhere",
        "shared%2Fbirds", "shared%5Cbirds", "..%2Felsewhere", "%2Fbirds", "birds%00", "%ff",
        "out", "up/elsewhere", "peek/birds", ".hidden/birds", "shared/.birds",
        "x" * 5000, "shared/" + "y/" * 3000,
    ],
)  # fmt: skip
def test_whatever_else_is_not_there(root, raw):
    assert found(root, raw) is None


def test_hidden_folders_are_there_where_the_server_shows_them(root):
    assert found(root, ".hidden/birds", hidden=True) == (".hidden/birds", "/")
    assert found(root, "shared/.birds", hidden=True) == ("shared/.birds", "/")


def test_one_workspace_is_one_folder_however_it_is_reached(root):
    straight = find_workspace(root, "shared/birds", shows_hidden=False)
    linked = find_workspace(root, "inside/birds", shows_hidden=False)
    assert straight.folder == linked.folder == (root / "shared/birds").resolve()


def test_the_list_has_what_can_be_reached_and_follows_no_link(root):
    listed = list_workspaces(root, shows_hidden=False)
    assert listed.is_complete
    assert [each.name for each in listed.places] == [
        "a b/fünf %",
        "api/api",
        "birds",
        "shared/birds",
    ]
    for each in listed.places:
        assert found(root, each.url_path) == (each.name, "/")
    shown = list_workspaces(root, shows_hidden=True).places
    assert {".hidden/birds", "shared/.birds"} < {each.name for each in shown}


def test_a_list_of_a_large_tree_says_that_it_is_not_complete(root, monkeypatch):
    monkeypatch.setattr(folders, "ENTRIES_MAX", 12)
    listed = list_workspaces(root, shows_hidden=False)
    assert not listed.is_complete
    assert "birds" in [each.name for each in listed.places]


def test_a_folder_that_may_not_be_entered_is_passed_over(root, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("shared"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert "birds" in [each.name for each in list_workspaces(root, shows_hidden=False).places]
