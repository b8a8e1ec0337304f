"""The extension that a Jupyter server loads: its settings, and where it answers.

It is enabled by a file that the wheel carries. It opens no workspace itself, so loading it loads no
engine; a server whose environment lacks what serving needs says so when a workspace is asked for.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Dict, Enum, Unicode, default

from livedb.auth.access import Role
from livedb.jupyter.kernel_sockets import prompt_connection
from livedb.jupyter.users import UserRules, own_name_of

_NEEDED = ("h11", "httptools", "joserfc", "starlette", "uvicorn", "websockets")
"""Packages that passing on, and the service that is started, cannot do without."""

_CONNECTION_CLASS = "kernel_websocket_connection_class"

_ROLES = [each.value for each in Role]


class LivedbExtension(ExtensionApp):
    """Workspaces of the server's folder, under `<base_url>/livedb/`."""

    name = "livedb"

    own_role = Enum(
        _ROLES, "owner", help="What the server's own user may do in its workspaces."
    ).tag(config=True)

    role = Enum(
        _ROLES, "editor", help="What other users of this server may do in its workspaces."
    ).tag(config=True)

    roles = Dict(
        value_trait=Enum(_ROLES),
        key_trait=Unicode(),
        help="What users of these names may do, instead of that.",
    ).tag(config=True)

    issuer = Unicode(help="Who vouches for users: the issuer that functions see in ctx.auth.").tag(
        config=True
    )

    @default("issuer")
    def _default_issuer(self) -> str:
        return "jupyterhub" if os.environ.get("JUPYTERHUB_USER") else "jupyter"

    def initialize_settings(self) -> None:
        """Have pages hear at once what kernels say."""
        self.settings[_CONNECTION_CLASS] = prompt_connection(self.settings[_CONNECTION_CLASS])

    def initialize_handlers(self) -> None:
        """Answer below the server's base URL."""
        missing = [name for name in _NEEDED if find_spec(name) is None]
        if missing:
            self.log.warning(
                "livedb offers no workspaces here: %s is not installed. Install livedb[service] "
                "in the environment of the Jupyter server.",
                " and ".join(missing),
            )
            return
        from livedb.jupyter.handlers import ListHandler, WorkspaceHandler
        from livedb.jupyter.services import Services

        assert self.serverapp is not None, "it was linked"
        self.services = Services()
        self.root = Path(self.serverapp.root_dir).expanduser()
        self.rules = UserRules(
            own_name=own_name_of(self.serverapp.identity_provider),
            own_role=Role(self.own_role),
            role=Role(self.role),
            roles=MappingProxyType({name: Role(role) for name, role in self.roles.items()}),
            issuer=self.issuer,
        )
        given: dict[str, Any] = {"extension": self}
        self.handlers.extend(
            [(r"/livedb/?", ListHandler, given), (r"/livedb/(.+)", WorkspaceHandler, given)]
        )
