"""For whom a process of the same user asks: believed at the local door, and nowhere else."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

import livedb
from livedb.auth.access import Caller, Role
from livedb.clock import SystemClock
from livedb.identity import Identity
from livedb.protocol.messages import Authenticate
from livedb.service.access import Access
from livedb.service.vouching import HEADER, vouch, vouched_for
from tests.service import shop

LOCAL = {"server": ("/w/socket", None)}
TCP = {"server": ("127.0.0.1", 3210)}
BEN = Caller(
    role=Role.VIEWER,
    name="Bén\r\nX-Livedb-Caller: owner",
    identity=Identity(token_identifier="hub|ben", subject="ben", issuer="hub"),
)


def scope(door, *said):
    return {**door, "headers": [(HEADER.lower().encode(), each.encode()) for each in said]}


@pytest.fixture
def access():
    return Access(SystemClock(), anonymous=None)


def signed_out():
    return Authenticate(base_version=0, token_type="None")


def test_who_is_vouched_for_arrives_as_that_and_comes_back_to_it(access):
    arrival = access.arriving(scope(LOCAL, vouch(BEN)))
    assert arrival.caller == BEN
    assert vouch(BEN).isascii()
    assert access.authenticate(signed_out(), arrival) == BEN
    assert access.from_header(None, arrival) == BEN


def test_who_is_vouched_for_has_the_address_that_is_said_at_the_local_door_alone(access):
    assert access.arriving(scope(LOCAL, vouch(BEN, ip="10.0.0.7"))).ip == "10.0.0.7"
    assert access.arriving(scope(LOCAL, vouch(BEN))).ip is None
    assert access.arriving(scope(LOCAL)).ip is None
    by_network = access.arriving({**scope(TCP, vouch(BEN, ip="10.0.0.7")), "client": ("::1", 5)})
    assert by_network.ip == "::1"


def test_at_the_local_door_without_a_word_it_is_the_owner(access):
    arrival = access.arriving(scope(LOCAL))
    assert arrival.caller.role == arrival.most == "owner"


def test_from_the_network_the_header_says_nothing(access):
    for said in (vouch(BEN), vouch(Caller(role=Role.OWNER, name="me")), "x"):
        assert access.arriving(scope(TCP, said)).caller is None
    member = Access(SystemClock(), anonymous=Role.MEMBER)
    owner = vouch(Caller(role=Role.OWNER, name="me"))
    assert member.arriving(scope(TCP, owner)).caller.role == "member"


@pytest.mark.parametrize(
    "said",
    [
        [""],
        ["!"],
        ["eyJ"],
        [vouch(BEN), vouch(BEN)],
        [vouch(BEN), vouch(Caller(role=Role.OWNER, name="me"))],
        *(
            [base64.urlsafe_b64encode(json.dumps(each).encode()).decode()]
            for each in (
                None, [], {}, {"role": "god", "name": "x", "identity": None},
                {"role": "owner", "name": "x"}, {"role": "owner", "name": "x", "identity": 3},
                {"role": "owner", "name": "x", "identity": {"subject": "x"}},
            )
        ),
    ],
)  # fmt: skip
def test_what_is_not_understood_or_said_twice_is_for_nobody(said):
    arrival = vouched_for(scope(LOCAL, *said))
    assert (arrival.caller, arrival.most) == (None, Role.VIEWER)


def test_a_token_narrows_and_never_widens_what_one_arrived_with(access):
    owners, _ = access.tokens.issue(Role.OWNER, "Ana")
    viewers, _ = access.tokens.issue(Role.VIEWER, "Vic")
    as_viewer = access.arriving(scope(LOCAL, vouch(BEN)))
    as_owner = access.arriving(scope(LOCAL, vouch(Caller(role=Role.OWNER, name="me"))))
    assert access.from_header(f"Bearer {owners}", as_viewer).role == "viewer"
    assert access.from_header(f"Bearer {viewers}", as_owner).role == "viewer"
    assert access.from_header(f"Bearer {owners}", as_owner).role == "owner"
    # Where nobody was vouched for, a token is what it is.
    unknown = access.arriving(scope(TCP))
    assert access.from_header(f"Bearer {owners}", unknown).role == "owner"
    said = Authenticate(base_version=0, token_type="User", value=owners)
    assert access.authenticate(said, as_viewer).role == "viewer"


def test_a_served_workspace_believes_its_socket_and_not_its_port(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        shop.define(db)
        serving = db.serve()
        call = {"path": "tasks:add", "args": {"title": "x", "user": "ada"}}
        header = {HEADER: vouch(BEN)}
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "w/socket"))) as client:
            me = client.post(
                "http://localhost/api/query", json={"path": "tasks:me"}, headers=header
            )
            assert me.json()["value"] == "ben"
            refused = client.post("http://localhost/api/mutation", json=call, headers=header)
            assert "may not run mutations" in refused.text
            done = client.post("http://localhost/api/mutation", json=call)
            assert done.json()["status"] == "success"
        owner = {HEADER: vouch(Caller(role=Role.OWNER, name="me"))}
        forged = httpx.post(f"{serving.url}/api/query", json={"path": "tasks:me"}, headers=owner)
        assert (forged.status_code, forged.json()["code"]) == (401, "InvalidAuthHeader")
