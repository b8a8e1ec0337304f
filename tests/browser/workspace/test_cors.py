"""A page of another origin calls HTTP actions from Chromium, which asks first."""

from __future__ import annotations

import functools
import http.server
import threading

import pytest

import livedb
from tests.examples.web import QuietHandler

pytestmark = pytest.mark.browser

CALL = """async ([url, header]) => {
  const asked = {method: "POST", headers: {"Content-Type": "application/json", [header]: "1"}};
  try {
    const answer = await fetch(url, {...asked, body: "[1]"});
    return [answer.status, await answer.text(), answer.headers.get("x-total")];
  } catch (error) {
    return String(error);
  }
}"""


@pytest.fixture
def page_url(tmp_path):
    """An empty page on a port of its own."""
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_page_calls_what_its_origin_is_listed_for_and_nothing_else(browser, page_url):
    with livedb.open() as db:
        cors = livedb.Cors(
            origins=page_url, headers=["Content-Type", "X-Own"], exposed_headers="X-Total"
        )

        def answer(ctx, request):
            return livedb.json_response(request.json(), 201, {"x-total": "7"})

        def fails(ctx, request):
            raise ValueError("no")

        db.http.route(path="/open", method="POST", cors=cors)(answer)
        db.http.route(path="/fails", method="POST", cors=cors)(fails)
        db.http.route(path="/closed", method="POST")(answer)
        others = livedb.Cors(origins="https://shop.example", headers="*")
        db.http.route(path="/others", method="POST", cors=others)(answer)
        with db.serve() as service:
            page = browser.new_context().new_page()
            page.goto(page_url)

            def call(path, header="X-Own"):
                return page.evaluate(CALL, [f"{service.site_url}{path}", header])

            refused = "TypeError: Failed to fetch"
            assert call("/open") == [201, "[1]", "7"]
            assert call("/fails")[0] == 500
            assert [call("/closed"), call("/others"), call("/open", "X-Other")] == [refused] * 3
