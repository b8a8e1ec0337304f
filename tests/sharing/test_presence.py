"""`db.who()` shows who is connected, on both ends, as they come and go."""

from __future__ import annotations

import time

import livedb
from livedb.clock import ManualClock
from livedb.presence import Presence


def names(handle):
    return sorted(handle.value["name"].to_pylist())


def soon(claim, wanted, timeout_s=20.0):
    end = time.monotonic() + timeout_s
    while (found := claim()) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.01)


def test_nobody_is_there_before_it_is_served(db):
    assert names(db.who()) == []


def test_who_comes_and_goes_is_seen_here_and_there(db):
    who = db.who()
    db.serve()
    ann = livedb.connect(db.invite("editor", name="ann").url)
    soon(lambda: names(who), ["ann"])
    seen_by_ann = ann.who()
    with livedb.connect(db.invite("viewer", name="bob").url) as bob:
        soon(lambda: names(seen_by_ann), ["ann", "bob"])
        assert names(who) == ["ann", "bob"]
        [row] = [each for each in who.value.to_pylist() if each["name"] == "bob"]
        assert (row["role"], row["client"]) == ("viewer", "livedb")
        assert row["since"] <= row["seen"]
        refused = str(bob.who().error)
        assert "'bob' is here as 'viewer' and may not see who is connected" in refused
    soon(lambda: names(who), ["ann"])
    ann.close()
    soon(lambda: names(who), [])


def test_observers_are_told_without_asking(db):
    heard = []
    who = db.who()
    who.observe(lambda change: heard.append(change["new"].num_rows), "value")
    db.serve()
    with livedb.connect(db.invite(name="ann").url):
        soon(lambda: 1 in heard, True)
    soon(lambda: heard[-1], 0)


def test_it_displays_as_a_table_and_leaves_no_commit(db):
    db.serve()
    invitation = db.invite(name="<ann>")
    before = db.number
    with livedb.connect(invitation.url):
        who = db.who()
        soon(lambda: names(who), ["<ann>"])
        html = who._repr_mimebundle_()
        html = html[0] if isinstance(html, tuple) else html
        assert "&lt;ann&gt;" in html["text/html"]
    assert db.number == before


def test_activity_is_told_once_in_a_while(memory):
    clock = ManualClock()
    presence = Presence(memory.backend.workspace.live, clock)
    visitor = presence.enter("ann", "editor", "livedb")
    clock.advance(10)
    assert not presence.is_seen_late(visitor)
    clock.advance(21)
    assert presence.is_seen_late(visitor)
    presence.see(visitor)
    [ann] = presence.visitors()
    assert ann.seen_ns - ann.since_ns == 31_000_000_000
    presence.leave(visitor)
    presence.leave(visitor)
    assert presence.visitors() == []
