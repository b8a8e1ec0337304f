"""What a hub brings to a Jupyter server: users with names, and an authorizer that tells them apart.

The server imports these by name.
"""

from __future__ import annotations

from jupyter_server.auth import Authorizer, User
from jupyter_server.auth.identity import IdentityProvider


class NamedUsers(IdentityProvider):
    """`Authorization: token NAME` is NAME: who may come in is not what these tests are about."""

    def get_user(self, handler):
        name = self.get_token(handler)
        if name not in {"ana", "ben", "vic", "rita", "nora"}:
            return None
        handler._token_authenticated = True
        return User(name, display_name=name.title())


class Allows(Authorizer):
    """Rita may read, Nora nothing, all others everything."""

    def is_authorized(self, handler, user, action, resource):
        if resource == "livedb" and user.username in {"rita", "nora"}:
            return user.username == "rita" and action == "read"
        return True
