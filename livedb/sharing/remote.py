"""Sharing a workspace that a service has: the service does it, for its owners."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from livedb.auth.access_tokens import AccessToken
from livedb.client.address import is_behind_jupyter
from livedb.client.remote import RemoteBackend
from livedb.clock import SystemClock
from livedb.errors import WorkspaceError
from livedb.sharing.invitations import (
    Invitation,
    InvitationList,
    NewInvitation,
    new_invitation,
    role_of,
    seconds_until,
)

if TYPE_CHECKING:
    from livedb.sharing.serving import Serving

_CLOCK = SystemClock()


class RemoteSharing:
    """The `Sharing` of a workspace on a service."""

    def __init__(self, backend: RemoteBackend) -> None:
        self._backend = backend

    def serve(self, **_: Any) -> Serving:
        """It is served, by the process that has it open."""
        raise WorkspaceError(
            f"This workspace is served already, at {self._backend.name}, by the process that has "
            "it open; call db.serve there to serve it otherwise"
        )

    def invite(
        self, role: str, *, name: str, expires: timedelta | datetime | float | None
    ) -> NewInvitation:
        """A new token, which the service makes."""
        asked = {
            "role": role_of(role).value,
            "name": name,
            "expires_s": seconds_until(expires, _CLOCK),
        }
        made = self._backend.ask("invite", asked)
        token = AccessToken.from_json(made["token"])
        # Others come the way this one came, where that is not the service's own port.
        way = self._backend.name
        url = way if is_behind_jupyter(way) else made["url"]
        return new_invitation(made["secret"], token, url, _CLOCK)

    def invitations(self) -> InvitationList:
        """All that were made."""
        found = self._backend.ask("invitations", {})
        return InvitationList(
            [Invitation.of(AccessToken.from_json(each), _CLOCK) for each in found]
        )

    def revoke(self, token_id: str) -> Invitation:
        """End one."""
        revoked = self._backend.ask("revoke", {"id": token_id})
        return Invitation.of(AccessToken.from_json(revoked), _CLOCK)
