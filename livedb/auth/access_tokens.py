"""Access tokens of our own: who may come into a workspace, without any issuer.

A token is `ldb_<first letter of the role>_<256 random bits>`, shown once, when it is made. What is
kept is its SHA-256, which is enough to know it again and useless to whoever reads it. (A slow hash
is for secrets that people think of; nobody guesses 256 bits.) The letter is for people; the role
kept counts.

A token's id is the beginning of its hash, so one look-up finds the only token it could be, and one
comparison in constant time says whether it is. Keys that an operator brings (`--admin-key`) are
known in the same way, until the service stops.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from hmac import compare_digest
from threading import Lock
from typing import Any

from livedb.auth.access import Role
from livedb.auth.authorization import bare_key
from livedb.clock import Clock
from livedb.errors import AuthenticationError, InvalidValueError, LimitError
from livedb.limits import ACCESS_TOKENS_MAX, SECONDS_MAX

PREFIX = "ldb_"
_ID_LENGTH = 16
_NAME_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What is known of a token that was given out; the token itself is not."""

    digest: str
    """SHA-256 of the token, in hexadecimal."""
    role: Role
    name: str
    """Whom it was made for."""
    created_ns: int
    expires_ns: int | None = None
    revoked_ns: int | None = None
    is_kept: bool = True
    """Whether `to_json` holds it: a key that an operator brings is brought again at the next start,
    and another may take its place."""

    @property
    def id(self) -> str:
        """What to name it by, as in `revoke`; no secret."""
        return self.digest[:_ID_LENGTH]

    def is_good(self, now_ns: int) -> bool:
        """Whether it opens anything at that time."""
        return self.revoked_ns is None and (self.expires_ns is None or now_ns < self.expires_ns)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {
            "digest": self.digest,
            "role": self.role.value,
            "name": self.name,
            "createdNs": str(self.created_ns),  # JSON readers take large numbers for floats
            "expiresNs": _text_of(self.expires_ns),
            "revokedNs": _text_of(self.revoked_ns),
        }

    @classmethod
    def from_json(cls, entry: object, place: str = "") -> AccessToken:
        """The one that `to_json` kept.

        Raises:
            InvalidValueError: it kept something else; `place` says where it stands.
        """
        return _read(entry, place)


class AccessTokens:
    """The access tokens of one workspace; safe to use from every thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        """Guards `_by_id`; held for moments."""
        self._by_id: dict[str, AccessToken] = {}

    def issue(
        self, role: Role, name: str, *, expires_s: float | None = None
    ) -> tuple[str, AccessToken]:
        """A new token, and what is kept of it. The token is to be had this once.

        Args:
            role: what its bearer may do.
            name: whom it is for; shown in `tokens()`, in logs, and to others present.
            expires_s: seconds until it no longer opens anything; None for never.

        Raises:
            InvalidValueError: no name, or no such time.
            LimitError: as many tokens as there may be.
        """
        secret = urlsafe_b64encode(self._clock.random_bytes(32)).rstrip(b"=").decode("ascii")
        token = f"{PREFIX}{role.value[0]}_{secret}"
        return token, self._admit(token, role, name, expires_s=expires_s)

    def admit(self, key: str, role: Role, name: str) -> AccessToken:
        """Let a key that an operator brings open the workspace; `to_json` does not hold it.

        Raises:
            InvalidValueError: a key that no header can carry; else as `issue`.
            LimitError: as `issue`.
        """
        bare = bare_key(key)
        if not bare or not bare.isascii() or not bare.isprintable() or set(bare) & set(" :"):
            raise InvalidValueError(
                "a key has visible ASCII characters, and no ':', which ends it in a header",
                code="InvalidAccessToken",
            )
        return self._admit(bare, role, name, is_kept=False)

    def find(self, token: str) -> AccessToken:
        """What is kept of `token`.

        Raises:
            AuthenticationError: it was never given out, has expired, or was revoked.
        """
        digest = _digest_of(token)
        with self._lock:
            known = self._by_id.get(digest[:_ID_LENGTH], _NOBODY)
        is_same = compare_digest(known.digest, digest)
        if not is_same or not known.is_good(self._clock.now_ns()):
            # One answer to all three: who holds a wrong token learns nothing about right ones.
            raise AuthenticationError(
                "The access token or key is not one of this workspace, or has expired or been "
                "revoked. Ask the workspace's owner for a new one."
            )
        return known

    def has(self, token: str) -> bool:
        """Whether `token` was given out, good or not."""
        digest = _digest_of(token)
        with self._lock:
            known = self._by_id.get(digest[:_ID_LENGTH], _NOBODY)
        return compare_digest(known.digest, digest)

    def is_good(self, token_id: str) -> bool:
        """Whether the token of that id opens anything now; for callers that stay connected."""
        with self._lock:
            known = self._by_id.get(token_id, _NOBODY)
        return known.is_good(self._clock.now_ns())

    def revoke(self, token_id: str) -> AccessToken:
        """Let the token of that id open nothing from now on.

        Raises:
            InvalidValueError: there is none.
        """
        with self._lock:
            known = self._by_id.get(token_id)
            if known is None:
                raise InvalidValueError(
                    f"no access token has the id {token_id!r}; `livedb token list` and "
                    "db.invitations list them",
                    code="InvalidAccessToken",
                )
            if known.revoked_ns is None:
                known = replace(known, revoked_ns=self._clock.now_ns())
                self._by_id[token_id] = known
            return known

    def withdraw(self, token_id: str) -> None:
        """Forget a token that was issued and not given out after all."""
        with self._lock:
            self._by_id.pop(token_id, None)

    def tokens(self) -> tuple[AccessToken, ...]:
        """All that were given out and not forgotten, oldest first."""
        with self._lock:
            return tuple(self._by_id.values())

    def forget_spent(self) -> int:
        """Drop those that expired or were revoked; how many."""
        now_ns = self._clock.now_ns()
        with self._lock:
            kept = {key: token for key, token in self._by_id.items() if token.is_good(now_ns)}
            dropped = len(self._by_id) - len(kept)
            self._by_id = kept
            return dropped

    def to_json(self) -> list[dict[str, Any]]:
        """What to keep of them, for `from_json`; holds no token."""
        return [token.to_json() for token in self.tokens() if token.is_kept]

    @classmethod
    def from_json(cls, json: object, clock: Clock) -> AccessTokens:
        """Those that `to_json` kept.

        Raises:
            InvalidValueError: it kept something else; `path` says where.
        """
        if not isinstance(json, list):
            raise InvalidValueError("access tokens are a list", code="InvalidAccessToken")
        made = cls(clock)
        for number, entry in enumerate(json):
            token = AccessToken.from_json(entry, f"[{number}]")
            made._by_id[token.id] = token
        return made

    def _admit(
        self,
        token: str,
        role: Role,
        name: str,
        *,
        expires_s: float | None = None,
        is_kept: bool = True,
    ) -> AccessToken:
        if not name.strip() or len(name) > _NAME_LENGTH_MAX:
            raise InvalidValueError(
                f"an access token needs a name of at most {_NAME_LENGTH_MAX} characters: whom it "
                f"is for",
                code="InvalidAccessToken",
            )
        if expires_s is not None and not 0 < expires_s <= SECONDS_MAX:
            raise InvalidValueError(
                f"an access token expires in more than 0 and at most {SECONDS_MAX:,.0f} seconds; "
                f"{expires_s!r} was given",
                code="InvalidAccessToken",
            )
        now_ns = self._clock.now_ns()
        made = AccessToken(
            digest=_digest_of(token),
            role=role,
            name=name,
            created_ns=now_ns,
            expires_ns=None if expires_s is None else now_ns + round(expires_s * 1e9),
            is_kept=is_kept,
        )
        with self._lock:
            if len(self._by_id) >= ACCESS_TOKENS_MAX and made.id not in self._by_id:
                raise LimitError(
                    f"There are {ACCESS_TOKENS_MAX} access tokens, as many as there may be; "
                    f"forget_spent() drops those that open nothing.",
                    code="TooManyAccessTokens",
                )
            self._by_id[made.id] = made
        return made


_NOBODY = AccessToken(digest="-" * 64, role=Role.VIEWER, name="nobody", created_ns=0, revoked_ns=0)
"""What an unknown token is compared with."""


def _digest_of(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _text_of(moment_ns: int | None) -> str | None:
    return None if moment_ns is None else str(moment_ns)


def _read(entry: object, place: str) -> AccessToken:
    try:
        if not isinstance(entry, Mapping):
            raise TypeError("no object")  # noqa: TRY301  # one refusal for all that is wrong
        digest, name = entry["digest"], entry["name"]
        if not isinstance(digest, str) or len(bytes.fromhex(digest)) != 32:
            raise ValueError("no SHA-256")  # noqa: TRY301  # as above
        if not isinstance(name, str):
            raise TypeError("no name")  # noqa: TRY301  # as above
        return AccessToken(
            digest=digest,
            role=Role(entry["role"]),
            name=name,
            created_ns=int(entry["createdNs"]),
            expires_ns=_moment_of(entry["expiresNs"]),
            revoked_ns=_moment_of(entry["revokedNs"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidValueError(
            f"no access token ({error!r}) (at {place})", path=place, code="InvalidAccessToken"
        ) from error


def _moment_of(text: str | None) -> int | None:
    return None if text is None else int(text)
