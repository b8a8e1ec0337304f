"""A server's own kind of connection between a page and a kernel, which tells how its socket is."""

from __future__ import annotations

import socket

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class Telling(ZMQChannelsWebsocketConnection):
    def connect(self):
        connection = self.websocket_handler.ws_connection.stream.socket
        is_prompt = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        self.log.warning("its socket holds %s back", "nothing" if is_prompt else "packets")
        return super().connect()
