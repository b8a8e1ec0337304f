"""What kernels say, through a real Jupyter server with the extension."""

from __future__ import annotations

from websockets.sync.client import connect

from tests.jupyter.servers import jupyter
from tests.waiting import until


def test_nothing_that_a_kernel_says_is_held_back(tmp_path):
    option = "--ServerApp.kernel_websocket_connection_class=tests.jupyter.telling.Telling"
    with jupyter(tmp_path, option) as server:
        kernel = server.ask("POST", "api/kernels", json={"name": "python3"}).json()["id"]
        url = server.url.replace("http", "ws", 1) + f"api/kernels/{kernel}/channels"
        with connect(url, additional_headers=server.login, close_timeout=1):
            until(lambda: "its socket holds " in server.log)
        assert "its socket holds nothing back" in server.log
