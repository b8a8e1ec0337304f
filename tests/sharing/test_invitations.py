"""Who is invited comes in as what they were invited for, until that ends."""

from __future__ import annotations

import stat
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

import livedb
from livedb.errors import (
    AuthenticationError,
    InvalidValueError,
    LogError,
    PermissionDeniedError,
    WorkspaceError,
)


@pytest.fixture
def served(db):
    @db.query
    def count(ctx) -> int:
        return len(ctx.db.query("t").collect())

    @db.mutation
    def add(ctx, n: int) -> None:
        ctx.db.insert("t", {"n": n})

    db["t"].insert({"n": 0})
    db.serve()
    return db


def connect(invitation):
    return livedb.connect(invitation.url)


def put_out(remote, within_s=1.0):
    """Whether a connection is closed for good in time."""
    end = time.monotonic() + within_s + 5.0  # the machine may be busy
    while remote.backend.status.state != "closed":
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_a_viewer_calls_queries_and_nothing_else(served):
    with connect(served.invite("viewer", name="ann")) as remote:
        assert remote.function("count")() == 1
        with pytest.raises(PermissionDeniedError):
            remote.function("add")(n=1)
        with pytest.raises(PermissionDeniedError):
            remote.sql("select 1").to_arrow()


def test_who_may_not_write_or_read_a_table_is_told_so_and_who_may(served):
    with connect(served.invite("viewer", name="ann")) as remote:
        words = "'ann' is here as 'viewer' and may not {} directly; owner and editor may"
        with pytest.raises(PermissionDeniedError, match=words.format("write to tables")):
            remote["t"].insert({"n": 2})
        with pytest.raises(PermissionDeniedError, match=words.format("read tables")):
            remote["t"].order("desc").collect()
    assert served["t"].count() == 1


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_who_may_not_read_settings_and_crons_is_told_so_and_who_may(served, role):
    served.env["KEY"] = "value"
    with connect(served.invite(role, name="ann")) as remote:
        words = f"'ann' is here as {role!r} and may not read and change settings; owner and editor"
        refused = [
            remote.crons.list,
            lambda: remote.crons.interval("beat", seconds=1, fn="add", args={"n": 1}),
            lambda: remote.crons.remove("beat"),
            lambda: dict(remote.env),
            lambda: remote.env["KEY"],
            lambda: remote.env.__setitem__("KEY", "other"),
        ]
        for ask in refused:
            with pytest.raises(PermissionDeniedError, match=words):
                ask()
        asked = {"name": "_system/storage:list", "args": {}}
        with pytest.raises(PermissionDeniedError, match="may not run internal functions"):
            remote.backend._verbs.act("call", asked)
    assert served.crons.list() == []
    assert dict(served.env) == {"KEY": "value"}


def test_an_editor_has_settings_and_crons(served):
    with connect(served.invite("editor", name="ann")) as remote:
        remote.env["KEY"] = "value"
        remote.crons.daily("far", hour_utc=2, fn="add", args={"n": 1})
        assert [cron["name"] for cron in remote.crons.list()] == ["far"]
    assert dict(served.env) == {"KEY": "value"}


def test_a_member_calls_functions_and_defines_none(served):
    with connect(served.invite("member", name="ann")) as remote:
        remote.function("add")(n=1)
        with pytest.raises(PermissionDeniedError):
            remote["t"].insert({"n": 2})
    assert served["t"].count() == 2


def test_an_editor_does_all_but_invite(served):
    with connect(served.invite("editor", name="ann")) as remote:
        remote["u"].insert({"n": 1})
        with pytest.raises(PermissionDeniedError):
            remote.invite(name="bob")
        with pytest.raises(PermissionDeniedError):
            _ = remote.invitations
    assert served["u"].count() == 1


def test_an_invitation_need_not_say_for_whom(served):
    served.invite(role="viewer", expires=60)
    assert [each.name for each in served.invitations] == ["an invited viewer"]


def test_a_remote_owner_invites_and_revokes(served):
    with connect(served.invite("owner", name="ann")) as remote:
        invitation = remote.invite("viewer", name="bob")
        assert [each.name for each in served.invitations] == ["ann", "bob"]
        with connect(invitation) as bob:
            assert bob.function("count")() == 1
            assert remote.revoke(invitation).state == "revoked"
            assert put_out(bob)


def test_who_is_revoked_is_put_out_and_does_not_come_back(served):
    invitation = served.invite("editor", name="ann")
    with connect(invitation) as remote:
        handle = remote["t"].live()
        assert served.revoke(invitation).state == "revoked"
        assert put_out(remote)
        with pytest.raises(livedb.LivedbError):
            remote["t"].insert({"n": 1})
        assert handle.value.num_rows == 1
    with pytest.raises(AuthenticationError):
        connect(invitation)
    assert served["t"].count() == 1


def test_others_stay_when_one_is_revoked(served):
    ann, bob = served.invite(name="ann"), served.invite(name="bob")
    with connect(ann) as a, connect(bob) as b:
        served.revoke(ann.id)
        assert put_out(a)
        b["t"].insert({"n": 1})


def test_who_is_idle_is_put_out_when_the_time_is_over(served):
    with connect(served.invite("viewer", name="ann", expires=1.5)) as remote:
        assert remote.backend.status.state == "connected"
        assert put_out(remote, within_s=2.5)
    assert served.invitations[0].state == "expired"


def test_invitations_survive_the_workspace_and_hold_no_token(tmp_path):
    path = tmp_path / "work"
    with livedb.open(path) as db:
        kept, gone = db.invite("member", name="ann", expires=None), db.invite(name="bob")
        db.revoke(gone)
    secrets = [str(kept.token).encode(), str(gone.token).encode()]
    for file in path.rglob("*"):
        if file.is_file():
            assert not any(secret in file.read_bytes() for secret in secrets)
    with livedb.open(path) as db:
        assert [(each.name, each.state) for each in db.invitations] == [
            ("ann", "open"),
            ("bob", "revoked"),
        ]
        assert db.invitations[0].expires is None
        serving = db.serve()
        livedb.connect(serving.url, token=kept.token).close()
        with pytest.raises(AuthenticationError):
            livedb.connect(serving.url, token=gone.token)


def test_an_invitation_that_could_not_be_kept_opens_nothing(served, monkeypatch):
    def refuse(_):
        raise LogError("no")

    with monkeypatch.context() as broken:
        broken.setattr(served.backend.workspace.log, "append", refuse)
        with pytest.raises(LogError):
            served.invite(name="ann")
    assert list(served.invitations) == []
    served.invite(name="bob")
    assert [each.name for each in served.invitations] == ["bob"]


def test_the_link_is_saved_to_a_file_of_the_users_own(served, tmp_path):
    invitation = served.invite(name="ann")
    file = invitation.save(tmp_path / "ann.url")
    assert file.read_text().strip() == str(invitation.url)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        invitation.save(file)


def test_it_says_how_long_and_where_its_link_works(served):
    url = served.backend.workspace.served_at
    shown = repr(served.invite(name="ann"))
    assert f"It works while the workspace is served at {url}, and on this machine only" in shown
    served.serve().close()
    assert "It works" not in repr(served.invite(name="bob"))
    with served.serve("0.0.0.0"):
        assert "this machine only" not in repr(served.invite(name="cid"))


def test_what_is_no_time_is_told_what_is(memory):
    with pytest.raises(InvalidValueError, match=r"a number of seconds, or None .*not 'tomorrow'"):
        memory.invite(name="ann", expires="tomorrow")


def test_there_is_no_link_to_what_is_not_served(memory):
    invitation = memory.invite(name="ann")
    with pytest.raises(WorkspaceError, match=r"db\.serve"):
        _ = invitation.url


@pytest.mark.parametrize(
    "asked",
    [
        {"role": "king", "name": "ann"},
        {"name": " "},
        {"name": "ann", "expires": -1},
        {"name": "ann", "expires": "tomorrow"},
        {"name": "ann", "expires": True},
        {"name": "ann", "expires": float("nan")},
        {"name": "ann", "expires": datetime(2030, 1, 1)},
        {"name": "ann", "expires": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
)
def test_what_is_no_invitation_is_refused(memory, asked):
    with pytest.raises(InvalidValueError):
        memory.invite(**asked)
    assert list(memory.invitations) == []


def test_it_holds_for_as_long_as_was_said(memory):
    for_a_day = memory.invite(name="ann", expires=timedelta(days=1))
    lasts = for_a_day.expires - for_a_day.created
    assert abs(lasts - timedelta(days=1)) < timedelta(seconds=1)
    moment = datetime(2040, 1, 1, tzinfo=UTC)
    until = memory.invite(name="bob", expires=moment)
    assert abs(until.expires - moment) < timedelta(seconds=1)


def test_an_unknown_id_cannot_be_revoked(memory):
    with pytest.raises(InvalidValueError, match="abc"):
        memory.revoke("abc")


def test_revoking_twice_is_harmless(memory):
    invitation = memory.invite(name="ann")
    memory.revoke(invitation)
    assert memory.revoke(invitation.id).state == "revoked"


def test_many_invitations_at_once_are_all_kept(tmp_path):
    with livedb.open(tmp_path / "work") as db:
        threads = [
            threading.Thread(target=lambda n=n: [db.invite(name=f"{n}.{k}") for k in range(5)])
            for n in range(4)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    with livedb.open(tmp_path / "work") as db:
        assert len({each.name for each in db.invitations}) == 20
