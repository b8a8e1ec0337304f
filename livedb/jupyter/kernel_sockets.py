"""The WebSockets between pages and kernels: what a kernel says leaves the server at once.

A message of a kernel is small, and several follow each other: that a cell runs, what it is, what a
table shows now. TCP holds a small packet back while an earlier one is not acknowledged (Nagle's
algorithm), and a page that has nothing to say acknowledges after up to 40 ms. So a commit in a cell
would be seen in the same notebook 40 ms later than in anybody else's. Tornado leaves the algorithm
on for WebSockets, and Jupyter Server does not turn it off.
"""

from __future__ import annotations

from typing import Any


def prompt_connection(connection_class: type[Any]) -> type[Any]:
    """The class by which a Jupyter server connects a page with a kernel, with nothing held back."""

    class PromptConnection(connection_class):  # type: ignore[misc]
        def connect(self) -> Any:
            self.websocket_handler.set_nodelay(True)
            return super().connect()

    return PromptConnection
