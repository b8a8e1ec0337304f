"""Where a service is, and which token opens what."""

from __future__ import annotations

import pytest

import livedb
from livedb.client.address import Address
from livedb.errors import FormatError, InvalidValueError

BIRDS = "http://host:8888/user/ana/livedb/shared/birds"
JWT = "eyJh.eyJi.c2ln"


@pytest.mark.parametrize(
    "url, given, address",
    [
        ("http://h:3210", {}, ("http://h:3210", None, None)),
        ("http://h:3210", {"token": "any key"}, ("http://h:3210", "any key", None)),
        ("http://h:3210#token=ldb_e_x", {}, ("http://h:3210", "ldb_e_x", None)),
        ("http://h:3210#token=ldb_e_x", {"token": "ldb_o_y"}, ("http://h:3210", "ldb_o_y", None)),
        ("http://h/prefix", {"token": "any key"}, ("http://h/prefix", "any key", None)),
        ("unix:/w/socket?#token=", {}, ("unix:/w/socket?#token=", None, None)),
        (BIRDS, {}, (BIRDS, None, None)),
        (f"{BIRDS}?token=door", {}, (BIRDS, None, "door")),
        (f"{BIRDS}?token=", {}, (BIRDS, None, None)),
        (BIRDS, {"token": "door"}, (BIRDS, None, "door")),
        (BIRDS, {"jupyter_token": "door"}, (BIRDS, None, "door")),
        (BIRDS, {"token": "ldb_e_x"}, (BIRDS, "ldb_e_x", None)),
        (BIRDS, {"token": JWT}, (BIRDS, JWT, None)),
        (BIRDS, {"token": "name|key"}, (BIRDS, "name|key", None)),
        (f"{BIRDS}?token=door#token=ldb_e_x", {}, (BIRDS, "ldb_e_x", "door")),
        (f"{BIRDS}?token=door", {"token": "any key"}, (BIRDS, "any key", "door")),
        (BIRDS, {"token": "key", "jupyter_token": "door"}, (BIRDS, "key", "door")),
    ],
)
def test_a_url_and_tokens_name_an_address(url, given, address):
    found = Address.of(url, **given)
    assert (found.url, found.token, found.jupyter_token) == address
    again = Address.of(found.with_login, token=found.token)
    assert (again.url, again.jupyter_token) == (found.url, found.jupyter_token)


def test_an_address_shows_no_secret():
    assert "door" not in repr(Address.of(f"{BIRDS}?token=door#token=ldb_e_door"))


def test_what_else_a_url_asks_for_is_refused():
    with pytest.raises(InvalidValueError, match="'reset'"):
        Address.of(f"{BIRDS}?token=door&reset")


@pytest.mark.parametrize("url", ["ftp://host/birds", "localhost:3210", "127.0.0.1:3210", ""])
def test_what_is_no_url_of_a_service_is_refused(url):
    with pytest.raises(InvalidValueError, match=r"begins with http://"):
        Address.of(url)


def test_a_path_is_sent_to_open_and_an_address_to_connect_without_its_token():
    with pytest.raises(InvalidValueError, match=r"livedb\.open\(path\)"):
        livedb.connect("/somewhere/work.livedb")
    for shared in (False, True):
        with pytest.raises(FormatError, match=r"livedb\.connect\(url\)") as refused:
            livedb.open("http://127.0.0.1:3210?token=door#token=ldb_e_door", shared=shared)
        assert "door" not in str(refused.value)
