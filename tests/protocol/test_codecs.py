"""Both forms of a message say the same."""

from __future__ import annotations

import pytest

from livedb.protocol.codecs import JSON, PACK
from livedb.protocol.messages import Authenticate, Event


@pytest.mark.parametrize("codec", [JSON, PACK], ids=["json", "pack"])
@pytest.mark.parametrize(
    "message",
    [
        Authenticate(base_version=0, token_type="User", value="t"),
        Authenticate(base_version=1, token_type="None"),
        Event(event_type="x"),
    ],
)
def test_a_message_without_its_optional_fields_comes_back(codec, message):
    assert codec.decode_client(codec.encode(message)) == message
