"""`check` and `repair`."""

from __future__ import annotations

import json

import livedb


def test_a_sound_workspace_is_said_to_be(run, shop):
    assert (
        "sound, at commit 2; read: 2 commits and 6 documents in 2 tables"
        in run("check", shop).stdout
    )
    facts = json.loads(run("check", shop, "--json").stdout)
    assert facts["sound"] is True
    assert facts["documents"] == {"tasks": 5, "users": 1}
    assert "nothing was changed" in run("repair", shop).stdout
    assert json.loads(run("repair", shop, "--json").stdout)["sound"] is True


def test_a_damaged_workspace_is_told_and_repaired(run, shop):
    (shop / "log").unlink()
    failed = run("check", shop, code=1)
    assert failed.stderr.startswith("error: ")
    assert "repair" in failed.stderr
    facts = json.loads(run("repair", shop, "--json").stdout)
    assert facts["sound"] is False
    assert facts["problems"]
    assert "sound, at commit 2" in run("check", shop).stdout


def test_damage_in_the_middle_of_the_log_is_found(run, tmp_path):
    path = tmp_path / "work"
    with livedb.open(path) as db:
        for n in range(400):
            db["t"].insert({"text": f"{n:05}" * 40})
    log = path / "log"
    data = bytearray(log.read_bytes())
    at = data.index(b"00150" * 40)
    data[at : at + 5] = b"00151"
    log.write_bytes(data)
    assert "error: " in run("check", path, code=1).stderr


def test_what_is_lost_of_files_is_listed_and_says_so_in_the_exit_code(run, shop, tmp_path):
    with livedb.open(shop) as db:
        file = db.files.put(b"holidays")
    [content] = (shop / "files").iterdir()
    content.write_bytes(b"holiday!")
    for command in (["check", shop], ["export", shop, "--path", tmp_path / "out.zip"]):
        assert f"{file}: it is not what was stored" in run(*command, code=1).stderr
    assert not (tmp_path / "out.zip").exists()
    assert f"the content of the file {file}" in run("repair", shop, code=1).stdout
    facts = json.loads(run("repair", shop, "--json", code=1).stdout)
    assert facts["lostFiles"] == [f"{file}: it is not what was stored"]
    assert facts["lost"] == 0


def test_what_is_no_workspace_is_told(run, tmp_path):
    assert "There is no workspace at" in run("check", tmp_path, code=1).stderr
    assert "error: " in run("repair", tmp_path / "gone", code=1).stderr
