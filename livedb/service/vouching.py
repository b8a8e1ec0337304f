"""For whom a process of the same user asks: a header that is believed at the local door alone.

Whoever comes in by the local door is the owner. One who stands there for others, as the Jupyter
extension does, says with every request who it is for and what they may do at most. That can only
take away: the process that says it could have come as the owner. From the network the header says
nothing, whoever sent it.

    X-Livedb-Caller: <base64url of {"role": .., "name": .., "identity": {..} or null, "ip": ..}>

The name is encoded, so that no name of anybody's ends the header and begins another.
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from livedb.auth.access import Caller, Role
from livedb.errors import InvalidValueError
from livedb.identity import Identity, Origin

HEADER = "X-Livedb-Caller"

_HEADER_BYTES = HEADER.lower().encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Somebody at a door, before they bring anything of their own.

    Attributes:
        caller: who they are; None is somebody who may do nothing.
        most: the most that they may do, whatever they bring.
        ip: their address; None of a process that came by the local door, and for itself.
    """

    caller: Caller | None
    most: Role = Role.OWNER
    ip: str | None = None

    @property
    def address(self) -> str:
        """From where they came, in words."""
        return self.ip or "the local door"


def vouch(caller: Caller, *, ip: str | None = None) -> str:
    """The header's value for a caller who came from that address."""
    identity = None if caller.identity is None else caller.identity.to_document()
    said = {"role": caller.role.value, "name": caller.name, "identity": identity, "ip": ip}
    return urlsafe_b64encode(json.dumps(said).encode()).decode()


def vouched_for(scope: MutableMapping[str, Any]) -> Arrival | None:
    """Who a request by the local door is for (an ASGI scope); None when it is for its sender.

    What is said twice, or not understood, is for nobody.
    """
    said = [value for name, value in scope["headers"] if name == _HEADER_BYTES]
    if not said:
        return None
    arrival = _read(said[0]) if len(said) == 1 else None
    return arrival or Arrival(caller=None, most=Role.VIEWER)


def origin_of(arrival: Arrival, scope: MutableMapping[str, Any]) -> Origin:
    """From where a request came, as functions see it (an ASGI scope)."""
    agents = [value for name, value in scope["headers"] if name == b"user-agent"]
    return Origin(ip=arrival.ip, user_agent=agents[0].decode("latin-1") if agents else None)


def without_vouching(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of a request as its sender sent them."""
    return [each for each in headers if each[0] != _HEADER_BYTES]


def _read(said: bytes) -> Arrival | None:
    try:
        found = json.loads(urlsafe_b64decode(said))
        identity, ip = found["identity"], found.get("ip")
        caller = Caller(
            role=Role(found["role"]),
            name=str(found["name"]),
            identity=None if identity is None else Identity.from_document(identity),
        )
        return Arrival(caller=caller, most=caller.role, ip=None if ip is None else str(ip))
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError, InvalidValueError):
        return None
