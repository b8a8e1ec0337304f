"""Invitations as an owner sees them: whom, as what, until when, and never their secrets.

An output cell is saved and shared, so nothing here displays a token. What an invitation hands out
is a `Secret`: a text in all respects but one, that it does not show itself when it is displayed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any, overload
from urllib.parse import urlsplit

from livedb.auth.access import Role
from livedb.auth.access_tokens import AccessToken
from livedb.client.address import is_loopback
from livedb.clock import Clock
from livedb.errors import InvalidValueError, WorkspaceError
from livedb.notebook.display import framed


class Secret(str):
    """A text that does not show itself: a cell that ends with it displays nothing of it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret: print() shows it, in an output that is saved with the notebook>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Access that somebody was given.

    Attributes:
        id: what to revoke it by; no secret.
        state: "open", "expired" or "revoked", when it was looked up.
    """

    id: str
    name: str
    role: str
    created: datetime
    expires: datetime | None
    state: str

    @classmethod
    def of(cls, token: AccessToken, clock: Clock) -> Invitation:
        """What an owner sees of a token."""
        return cls(**_shown(token, clock))

    def __repr__(self) -> str:
        until = "" if self.expires is None else f" until {self.expires:%Y-%m-%d %H:%M}Z"
        return f"<invitation {self.id} of {self.name!r} as {self.role}{until}: {self.state}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInvitation(Invitation):
    """An invitation just made, with the secret that is to be had this once.

    Attributes:
        token: what opens the workspace, for `livedb.connect(url, token=)` and other clients.
    """

    token: Secret
    _served_at: str | None

    @property
    def url(self) -> Secret:
        """The link for `livedb.connect(url)`; whoever has it has the access.

        Raises:
            WorkspaceError: the workspace is not served.
        """
        if self._served_at is None:
            raise WorkspaceError(
                "The workspace is not served, so there is no link to it yet: call db.serve(), and "
                "invite again; or send the token alone, for livedb.connect(url, token=...)"
            )
        return Secret(f"{self._served_at}#token={self.token}")

    def save(self, path: str | os.PathLike[str], /) -> Path:
        """Write the link, or the token if there is no link, to a new file only you can read."""
        target = Path(path)
        text = self.token if self._served_at is None else self.url
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
        return target

    def __repr__(self) -> str:
        what = ".url is the link" if self._served_at is not None else ".token opens it"
        return (
            f"{Invitation.__repr__(self)[:-1]}. {what}, not shown here and not kept: "
            f".save(path) writes it to a file, for you to send{self._how_long()}>"
        )

    def _how_long(self) -> str:
        """When and where the link works."""
        if self._served_at is None:
            return ""
        works = f". It works while the workspace is served at {self._served_at}"
        host = urlsplit(self._served_at).hostname or ""
        return f"{works}, and on this machine only" if is_loopback(host) else works


class InvitationList(Sequence[Invitation]):
    """Invitations, oldest first."""

    def __init__(self, invitations: Sequence[Invitation]) -> None:
        self._invitations = tuple(invitations)

    @overload
    def __getitem__(self, at: int) -> Invitation: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Invitation]: ...

    def __getitem__(self, at: int | slice) -> Invitation | Sequence[Invitation]:
        return self._invitations[at]

    def __len__(self) -> int:
        return len(self._invitations)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "nobody is invited: db.invite(name=...) invites"

    def _repr_html_(self) -> str:
        heads = ("id", "name", "role", "made", "until", "state")
        head = "".join(f"<th>{each}</th>" for each in heads)
        lines = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(each)) + "</tr>"
            for each in self
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
        return framed("invitations", table, [f"{len(self):,}"])


def new_invitation(secret: str, token: AccessToken, url: str | None, clock: Clock) -> NewInvitation:
    """What `db.invite` gives."""
    return NewInvitation(**_shown(token, clock), token=Secret(secret), _served_at=url)


def role_of(role: str) -> Role:
    """The role of that name.

    Raises:
        InvalidValueError: there is none.
    """
    try:
        return Role(role)
    except ValueError:
        names = ", ".join(repr(each.value) for each in Role)
        raise InvalidValueError(f"A role is one of {names}, not {role!r}") from None


def seconds_until(expires: timedelta | datetime | float | None, clock: Clock) -> float | None:
    """Seconds from now until `expires`; None for never.

    Raises:
        InvalidValueError: a datetime without a zone, or something that is no time.
    """
    if isinstance(expires, timedelta):
        return expires.total_seconds()
    if isinstance(expires, datetime):
        if expires.tzinfo is None:
            raise InvalidValueError(
                f"{expires!r} does not say of which zone; give an aware datetime or a timedelta"
            )
        return expires.timestamp() - clock.now_ns() / 1e9
    if expires is not None and (isinstance(expires, bool) or not isinstance(expires, int | float)):
        raise InvalidValueError(
            "expires= is how long or until when an invitation holds: a timedelta, a datetime with "
            f"a zone, a number of seconds, or None for ever, not {expires!r}"
        )
    return expires


def _shown(token: AccessToken, clock: Clock) -> dict[str, Any]:
    is_good = token.is_good(clock.now_ns())
    spent = "expired" if token.revoked_ns is None else "revoked"
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.value,
        "created": _moment(token.created_ns),
        "expires": None if token.expires_ns is None else _moment(token.expires_ns),
        "state": "open" if is_good else spent,
    }


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC)


def _cells(each: Invitation) -> tuple[str, ...]:
    until = "" if each.expires is None else f"{each.expires:%Y-%m-%d %H:%M}"
    return (each.id, each.name, each.role, f"{each.created:%Y-%m-%d %H:%M}", until, each.state)
