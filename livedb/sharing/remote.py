"""Sharing a workspace that a service has: the service does it, for its owners."""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from livedb.auth.access_tokens import AccessToken
from livedb.client.address import is_behind_jupyter
from livedb.client.remote import RemoteBackend
from livedb.clock import SystemClock
from livedb.commitlog.lock import WorkspaceLock
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
    """The `Sharing` of a workspace on a service.

    Args:
        folder: its path, when it was opened by that.
    """

    def __init__(self, backend: RemoteBackend, folder: str | None = None) -> None:
        self._backend = backend
        self._folder = folder

    def serve(self, **_: Any) -> Serving:
        """It is served, by the process that has it open."""
        holder = None if self._folder is None else WorkspaceLock(self._folder).holder()
        if holder is not None and holder.is_background:
            raise WorkspaceError(
                f"This workspace is served already, to this machine, by the background process "
                f"{holder.pid} of shared=True. To serve it otherwise, end that process "
                f"(`kill {holder.pid}`: what was begun is finished) and run "
                f"`livedb serve {shlex.quote(str(self._folder))} --host ADDRESS`; the notebooks "
                "that have it open come back by themselves"
            )
        raise WorkspaceError(
            f"This workspace is served already, at {self._backend.name}, by the process that has "
            "it open; to serve it otherwise call db.serve there, or end that process and run "
            "`livedb serve PATH`"
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
