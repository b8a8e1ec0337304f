"""The workspaces of a Jupyter server's folder, through its own port and login."""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """What a Jupyter server asks of a package that it is told to load."""
    from livedb.jupyter.extension import LivedbExtension

    return [{"module": "livedb.jupyter.extension", "app": LivedbExtension}]
