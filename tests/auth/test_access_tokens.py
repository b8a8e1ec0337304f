from __future__ import annotations

import json
import threading

import pytest

from livedb.auth.access import Role
from livedb.auth.access_tokens import AccessTokens
from livedb.clock import SystemClock
from livedb.errors import AuthenticationError, InvalidValueError, LimitError


@pytest.fixture
def tokens(clock):
    return AccessTokens(clock)


def is_known(tokens, token) -> bool:
    try:
        tokens.find(token)
    except AuthenticationError:
        return False
    return True


@pytest.mark.parametrize("role", list(Role))
def test_a_token_opens_what_its_role_says(tokens, role):
    token, kept = tokens.issue(role, "Ana")
    assert token.startswith(f"ldb_{role.value[0]}_")
    assert tokens.find(token) == kept
    assert (kept.role, kept.name) == (role, "Ana")


def test_a_token_has_256_bits_and_nothing_that_splits_a_header(clock):
    made = AccessTokens(SystemClock())
    secrets = {made.issue(Role.EDITOR, "Ana")[0] for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert len(secret.split("_", 2)[2]) == 43
        assert not set(secret) & set(":| =+/")


@pytest.mark.parametrize("token", ["", "ldb_e_", "ldb_o_AAAA", "\0", "x" * (1 << 20), "\ud800"])
def test_a_token_that_was_never_given_out_opens_nothing(tokens, token):
    tokens.issue(Role.OWNER, "Ana")
    assert not is_known(tokens, token)


def test_a_token_whose_hash_only_begins_like_a_kept_one_opens_nothing(tokens, clock):
    token, kept = tokens.issue(Role.OWNER, "Ana")
    (entry,) = tokens.to_json()
    entry["digest"] = kept.id + "0" * (64 - len(kept.id))
    assert not is_known(AccessTokens.from_json([entry], clock), token)


def test_a_refusal_does_not_repeat_the_token(tokens):
    with pytest.raises(AuthenticationError) as caught:
        tokens.find("ldb_o_secret")
    assert "secret" not in caught.value.message


def test_a_token_with_a_better_letter_opens_nothing(tokens):
    token, _ = tokens.issue(Role.VIEWER, "Ana")
    assert not is_known(tokens, token.replace("ldb_v_", "ldb_o_"))


def test_what_is_kept_opens_nothing(tokens):
    token, kept = tokens.issue(Role.OWNER, "Ana")
    stored = json.dumps(tokens.to_json())
    assert token not in stored
    assert token.split("_", 2)[2] not in stored
    for known in (kept.digest, kept.id):
        assert not is_known(tokens, known)
    assert token not in repr(kept)


def test_a_token_opens_nothing_once_it_has_expired(tokens, clock):
    token, kept = tokens.issue(Role.MEMBER, "Ana", expires_s=60)
    clock.advance(59)
    assert is_known(tokens, token)
    assert tokens.is_good(kept.id)
    clock.advance(1)
    assert not is_known(tokens, token)
    assert not tokens.is_good(kept.id)


def test_a_token_opens_nothing_once_it_is_revoked(tokens):
    token, kept = tokens.issue(Role.MEMBER, "Ana")
    other, _ = tokens.issue(Role.MEMBER, "Ben")
    revoked = tokens.revoke(kept.id)
    assert tokens.revoke(kept.id) == revoked
    assert not is_known(tokens, token)
    assert not tokens.is_good(kept.id)
    assert is_known(tokens, other)


def test_revoking_what_is_not_there_is_an_error(tokens):
    with pytest.raises(InvalidValueError, match=r"the id 'nobody'; .*db\.invitations list them"):
        tokens.revoke("nobody")
    assert not tokens.is_good("nobody")


def test_tokens_come_back_as_they_were_kept(tokens, clock):
    good, _ = tokens.issue(Role.EDITOR, "Ana")
    bad, kept = tokens.issue(Role.EDITOR, "Ben", expires_s=0.5)
    tokens.revoke(kept.id)
    back = AccessTokens.from_json(json.loads(json.dumps(tokens.to_json())), clock)
    assert back.tokens() == tokens.tokens()
    assert is_known(back, good)
    assert not is_known(back, bad)


def test_a_key_of_an_operator_opens_until_the_service_stops(tokens, clock):
    tokens.admit("prod:shop|correct-horse", Role.OWNER, "admin key")
    assert tokens.find("correct-horse").role is Role.OWNER
    assert not is_known(AccessTokens.from_json(tokens.to_json(), clock), "correct-horse")


@pytest.mark.parametrize("key", ["", "shop|", "a:b", "a b", "a\n", "\u00e9"])
def test_a_key_that_no_header_can_carry_is_refused(tokens, key):
    with pytest.raises(InvalidValueError, match="visible ASCII"):
        tokens.admit(key, Role.OWNER, "admin key")


@pytest.mark.parametrize("name", ["", " ", "x" * 201])
def test_a_token_is_made_for_somebody(tokens, name):
    with pytest.raises(InvalidValueError, match="needs a name"):
        tokens.issue(Role.MEMBER, name)


@pytest.mark.parametrize("expires_s", [0, -1, float("nan"), float("inf"), 1e10])
def test_a_token_expires_in_the_future(tokens, expires_s):
    with pytest.raises(InvalidValueError, match="expires in more than"):
        tokens.issue(Role.MEMBER, "Ana", expires_s=expires_s)


def test_tokens_are_bounded_and_spent_ones_make_room(tokens, monkeypatch):
    monkeypatch.setattr("livedb.auth.access_tokens.ACCESS_TOKENS_MAX", 2)
    _, first = tokens.issue(Role.MEMBER, "Ana")
    tokens.issue(Role.MEMBER, "Ben")
    with pytest.raises(LimitError, match="forget_spent"):
        tokens.issue(Role.MEMBER, "Cid")
    tokens.revoke(first.id)
    assert tokens.forget_spent() == 1
    tokens.issue(Role.MEMBER, "Cid")
    assert [token.name for token in tokens.tokens()] == ["Ben", "Cid"]


GOOD = {
    "digest": "00" * 32,
    "role": "editor",
    "name": "Ana",
    "createdNs": "1",
    "expiresNs": None,
    "revokedNs": None,
}


@pytest.mark.parametrize(
    "changed",
    [{"digest": "00"}, {"digest": 7}, {"role": "king"}, {"name": 7}, {"createdNs": "x"}]
    + [{name: ...} for name in GOOD],
)
def test_what_was_damaged_is_refused_with_its_place(clock, changed):
    entry = {name: value for name, value in (GOOD | changed).items() if value is not ...}
    with pytest.raises(InvalidValueError) as caught:
        AccessTokens.from_json([GOOD, entry], clock)
    assert caught.value.path == "[1]"
    for whole in (None, {}, [7]):
        with pytest.raises(InvalidValueError):
            AccessTokens.from_json(whole, clock)


def test_tokens_are_made_and_found_by_many_threads(tokens):
    def work(number):
        for _ in range(50):
            token, _ = tokens.issue(Role.MEMBER, f"thread {number}")
            assert tokens.find(token).name == f"thread {number}"

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens.tokens()) == 200
