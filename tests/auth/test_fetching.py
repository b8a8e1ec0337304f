from __future__ import annotations

import httpx
import pytest

from livedb.auth.fetching import FetchError, _Fetch
from livedb.auth.providers import parse_providers


@pytest.mark.parametrize("url", ["https://localhost/keys", "https://127.0.0.1:8443/keys"])
def test_an_issuer_elsewhere_cannot_send_us_to_this_machine(clock, url):
    """What is fetched from other issuers is in test_keysets.py; this one would have to be away."""
    (provider,) = parse_providers(
        {"providers": [{"domain": "https://shop.example", "applicationID": "shop"}]}
    )
    with httpx.Client() as client, pytest.raises(FetchError, match="is on this machine"):
        _Fetch(provider, client, clock, 1.0)._check_target(url)
