"""Who was invited into a workspace: its access tokens, kept as a setting of it, hashed only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livedb.auth.access import Role
from livedb.auth.access_tokens import AccessToken, AccessTokens
from livedb.changes.settings import WorkspaceSettings
from livedb.clock import Clock
from livedb.errors import LimitError

SETTING = "accessTokens"
"""The name of the setting that keeps them."""


class Invitations:
    """The invitations of one workspace; safe to use from every thread.

    Attributes:
        tokens: what opens the workspace, for whoever stands at a door of it.
    """

    def __init__(self, settings: WorkspaceSettings, clock: Clock) -> None:
        self._settings = settings
        self.tokens = AccessTokens.from_json(settings.get(SETTING) or [], clock)
        self._listeners: tuple[Callable[[], None], ...] = ()

    def issue(
        self, role: Role, name: str, *, expires_s: float | None, author: str | None = None
    ) -> tuple[str, AccessToken]:
        """A new token, to be had this once, and what is kept of it, in a commit.

        Raises: as `AccessTokens.issue`; as a mutation does, and then there is no token.
        """
        try:
            secret, token = self.tokens.issue(role, name, expires_s=expires_s)
        except LimitError:
            if not self.tokens.forget_spent():
                raise
            secret, token = self.tokens.issue(role, name, expires_s=expires_s)
        try:
            self._keep(author)
        except BaseException:  # a Ctrl-C too: nobody has it
            self.tokens.withdraw(token.id)
            raise
        return secret, token

    def revoke(self, token_id: str, *, author: str | None = None) -> AccessToken:
        """Let a token open nothing from now on, and put out who came with it.

        Raises:
            InvalidValueError: there is none of that id.
            LogError: it opens nothing here and now, but will again when the workspace is opened.
        """
        token = self.tokens.revoke(token_id)
        for tell in self._listeners:
            tell()
        self._keep(author)
        return token

    def kept(self) -> list[AccessToken]:
        """All that were given out and not forgotten, oldest first."""
        return [token for token in self.tokens.tokens() if token.is_kept]

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Be told when a token was revoked, on any thread; call what is returned to stop."""
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each != listener)

        return stop

    def _keep(self, author: str | None) -> None:
        def newest(_: Any) -> list[dict[str, Any]]:
            return self.tokens.to_json()

        self._settings.change(SETTING, newest, author=author)
