"""Sharing a workspace that this process has open."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from livedb.errors import WorkspaceError
from livedb.sharing.invitations import (
    Invitation,
    InvitationList,
    NewInvitation,
    new_invitation,
    role_of,
    seconds_until,
)
from livedb.workspace import Workspace

if TYPE_CHECKING:
    from livedb.sharing.serving import ServeOptions, Serving


class LocalSharing:
    """The `Sharing` of a workspace of this process."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._serving: Serving | None = None
        self._lock = threading.Lock()
        """One start at a time; guards `_serving`."""

    def serve(self, **asked: Any) -> Serving:
        """Serve it, or give what serves it already."""
        try:
            from livedb.sharing.serving import serve_options
        except ImportError as error:
            raise WorkspaceError(
                f"Serving needs packages that are not installed ({error.name}): install "
                "livedb[service]"
            ) from None
        return self.serve_as(serve_options(**asked))

    def serve_as(self, options: ServeOptions) -> Serving:
        """The same, for options that were checked."""
        from livedb.sharing.serving import Serving, refuse_closed_house

        self._workspace.require_open()
        with self._lock:
            known = self._serving
            if known is not None and not known.is_closed:
                if options.is_met_by(known.options):
                    return known
                raise WorkspaceError(
                    f"The workspace is served at {known.url} with other settings; end that first, "
                    "with close() on what db.serve returned",
                    code="OtherSettings",
                )
            refuse_closed_house(self._workspace, options)
            self._serving = Serving(self._workspace, options)
            return self._serving

    def invite(
        self, role: str, *, name: str, expires: timedelta | datetime | float | None
    ) -> NewInvitation:
        """A new token."""
        workspace = self._workspace
        workspace.require_open()
        secret, token = workspace.invitations.issue(
            role_of(role), name, expires_s=seconds_until(expires, workspace.clock)
        )
        return new_invitation(secret, token, workspace.served_at, workspace.clock)

    def invitations(self) -> InvitationList:
        """All that were made."""
        self._workspace.require_open()
        kept = self._workspace.invitations.kept()
        return InvitationList([Invitation.of(token, self._workspace.clock) for token in kept])

    def revoke(self, token_id: str) -> Invitation:
        """End one."""
        self._workspace.require_open()
        token = self._workspace.invitations.revoke(token_id)
        return Invitation.of(token, self._workspace.clock)
