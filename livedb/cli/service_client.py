"""What commands ask of a service over HTTP, where livedb's own protocol has no word for it.

Everything here is what Convex's command line tool asks, and a few options more.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from livedb.cli.opening import key_asked_for
from livedb.client.address import Address
from livedb.errors import (
    AuthenticationError,
    DisconnectedError,
    LivedbError,
    LoadError,
    PermissionDeniedError,
)
from livedb.protocol.convex_json import from_wire, to_wire

if TYPE_CHECKING:
    from livedb.transfer import ImportMode
    from livedb.values import Value

PART_BYTES = 5 << 20
"""Bytes of a part of an upload."""

ANSWER_S_MAX = 120.0
"""Seconds until an answer begins."""

POLL_S = 0.1
"""Seconds between two looks at a job."""

_MODES: dict[ImportMode, str] = {
    "new": "requireEmpty",
    "append": "append",
    "replace": "replace",
    "replace-all": "replaceAll",
}


class ServiceClient:
    """A service, as an administrator asks it; a context manager."""

    def __init__(self, url: str, key: str | None) -> None:
        address = Address.of(url, token=key)
        self._url = url = address.url
        self._brings_nothing = address.token is None and address.jupyter_token is None
        self._ending = ExitStack()
        self._ending.enter_context(key_asked_for(address))
        headers = address.headers
        if address.token is not None:
            # A Jupyter server reads its own login from the usual header.
            name = "X-Livedb-Authorization" if headers else "Authorization"
            headers[name] = f"Convex {address.token}"
        # A proxy has no business between a shell and its own machine.
        self._client = self._ending.enter_context(
            httpx.Client(
                base_url=url, headers=headers, timeout=ANSWER_S_MAX, trust_env=not _is_local(url)
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.__exit__(kind, error, trace)

    def call(self, path: str, args: Mapping[str, Value]) -> Value:
        """The result of a function.

        Raises:
            LivedbError: it failed.
            PermissionDeniedError: for who brings nothing there is no such function.
        """
        body = {"path": path, "args": to_wire(dict(args)), "format": "convex_encoded_json"}
        answer = self._ask("POST", "/api/function", json=body).json()
        if answer["status"] != "success" and self._brings_nothing:
            raise PermissionDeniedError(f"Only owner and editor may call {path!r}.")
        if answer["status"] != "success":
            raise LivedbError(answer["errorMessage"])
        return from_wire(answer["value"])

    def update_environment(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Set environment variables `{name, value}`, and remove those without a value."""
        self._ask("POST", "/api/update_environment_variables", json={"changes": changes})

    def logs_since(self, cursor: float) -> tuple[list[dict[str, Any]], float]:
        """Calls that ended after `cursor`, once there is one or a while has passed."""
        # Without an exponent, which JSON numbers of this size would have.
        answer = self._ask("GET", f"/api/stream_function_logs?cursor={cursor:.0f}").json()
        return answer["entries"], answer["newCursor"]

    # -- exports and imports -------------------------------------------------------------------

    def export_snapshot(self, target: Path, *, tables: Sequence[str], overwrite: bool) -> State:
        """Write tables (none: all) as a snapshot zip; what the service says of it."""
        from livedb.interchange.exports import published

        self._ask("POST", "/api/export/request/zip", params={"table": list(tables)})
        state = self._until("_system/cli/exports:getLatest", {}, {"completed"})
        with (
            published(target, overwrite=overwrite) as file,
            self._client.stream("GET", f"/api/export/zip/{state['start_ts']}") as answer,
        ):
            _check(answer)
            for chunk in answer.iter_bytes():
                file.write(chunk)
        return state

    def import_file(
        self,
        file: Path,
        *,
        mode: ImportMode,
        format: str,  # noqa: A002 - the word users know
        **options: Any,
    ) -> State:
        """Bring a file into the workspace; what the service says of it.

        Args:
            format: as Convex names it, or "parquet".
            options: `tableName`, `newIds`, `timeZone`, `nullValues`.
        """
        token = self._ask("POST", "/api/import/start_upload").json()["uploadToken"]
        parts = [
            self._ask(
                "POST",
                "/api/import/upload_part",
                params={"uploadToken": token, "partNumber": number},
                content=part,
            ).json()
            for number, part in enumerate(_parts(file), 1)
        ]
        order = {"mode": _MODES[mode], "format": format, **options}
        body = {"import": order, "uploadToken": token, "partTokens": parts}
        import_id = self._ask("POST", "/api/import/finish_upload", json=body).json()["importId"]
        args = {"importId": import_id}
        self._until("_system/cli/queryImport", args, {"waiting_for_confirmation"})
        self._ask("POST", "/api/perform_import", json=args)
        return self._until("_system/cli/queryImport", args, {"completed"})

    def _until(self, path: str, args: Mapping[str, Value], wanted: set[str]) -> State:
        """The state of a job when it is one of those wanted.

        Raises:
            LoadError: it failed.
        """
        pause = threading.Event()
        while True:
            found: Any = self.call(path, args)
            state: State = found["state"] if isinstance(found["state"], dict) else found
            if state["state"] in wanted:
                return state
            if state["state"] == "failed":
                raise LoadError(state["error_message"])
            pause.wait(POLL_S)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DisconnectedError(
                f"No livedb service answers at {self._url}: {error}. Is it running?"
            ) from None
        _check(answer)
        return answer


State = dict[str, Any]


def _check(answer: httpx.Response) -> None:
    """Raise what the service refused."""
    if answer.is_success:
        return
    answer.read()
    try:
        found = json.loads(answer.content)
        message, code = str(found["message"]), str(found["code"])
    except (ValueError, KeyError, TypeError):
        message, code = f"{answer.url} answered with status {answer.status_code}", None
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise AuthenticationError(message, code=code)
    if answer.status_code == httpx.codes.FORBIDDEN:
        raise PermissionDeniedError(message, code=code)
    raise LivedbError(message, code=code)


def _parts(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            while part := stream.read(PART_BYTES):
                yield part
    except OSError as error:
        raise LoadError(f"{str(file)!r} cannot be read: {error.strerror}") from error


def _is_local(url: str) -> bool:
    return httpx.URL(url).host in {"localhost", "127.0.0.1", "::1"}
