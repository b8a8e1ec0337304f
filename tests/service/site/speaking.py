"""Sockets to the site, to say anything to."""

from __future__ import annotations

import socket
from contextlib import contextmanager


@contextmanager
def spoken(served):
    """A socket to the site, to say anything to."""
    with socket.create_connection(("127.0.0.1", served.site_port), timeout=30) as raw:
        yield raw


def heard(raw):
    """Everything until the end of the connection, or until it is cut."""
    parts = []
    try:
        while part := raw.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)
