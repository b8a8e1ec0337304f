"""Who may vouch for users: Convex's auth configuration, parsed and checked.

    {"providers": [
        {"domain": "https://shop.eu.auth0.com", "applicationID": "Zt3k..."},
        {"type": "customJwt", "issuer": "https://shop.example", "algorithm": "ES256",
         "jwks": "https://shop.example/jwks.json", "applicationID": "shop"}]}

Source: Convex's `auth.config.ts`, spec features.md 10. EdDSA, and `algorithm` for a domain, are
ours.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from livedb.auth.keys import ALGORITHMS, KeySet, parse_key_set
from livedb.errors import InvalidValueError
from livedb.limits import KEY_SET_BYTES_MAX

_DOMAIN_FIELDS = ("domain", "applicationID", "algorithm", "type")
_CUSTOM_FIELDS = ("type", "issuer", "jwks", "algorithm", "applicationID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One issuer whose tokens are taken, for one application."""

    issuer: str
    """As configured; of a domain without the slash at its end."""
    application_id: str | None
    """What `aud` must hold; None takes tokens for anybody."""
    algorithms: frozenset[str]
    """What its tokens may be signed with, of `ALGORITHMS`."""
    is_custom: bool = False
    """`customJwt`: the issuer's name is exact, and nested claims become dotted ones."""
    jwks_url: str | None = None
    """Where its keys are; None asks OpenID discovery, or `keys` holds them."""
    keys: KeySet | None = None
    """The keys of a `data:` URI."""

    @property
    def keys_at(self) -> str:
        """The URL that leads to its keys: they are there, or it says where they are."""
        return self.jwks_url or f"{self.issuer}/.well-known/openid-configuration"

    def is_issuer(self, name: str) -> bool:
        """Whether `name` is this issuer.

        A domain is compared without the slashes at its end: Auth0 shows its domain without one and
        writes it with one into its tokens (Convex).
        """
        return name == self.issuer if self.is_custom else name.rstrip("/") == self.issuer

    def takes(self, audiences: Collection[str]) -> bool:
        """Whether a token for these audiences is one for this application."""
        return self.application_id is None or self.application_id in audiences


def load_providers(path: str | os.PathLike[str]) -> tuple[Provider, ...]:
    """The providers of a JSON file.

    Raises:
        InvalidValueError: the file cannot be read or is no such configuration; the message names
            the file, `path` the place in it.
    """
    file = Path(path)
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(
            f"no auth configuration could be read from {str(file)!r}: {error}"
        ) from error
    try:
        return parse_providers(config)
    except InvalidValueError as error:
        raise _refusal(f"{str(file)!r}: {error.message}", error.path) from error


def parse_providers(config: object) -> tuple[Provider, ...]:
    """The providers of a configuration, in its order.

    Raises:
        InvalidValueError: `path` says where, such as `.providers[1].jwks`.
    """
    entries = config.get("providers") if isinstance(config, Mapping) else None
    if not isinstance(entries, list | tuple):
        raise _refusal('an auth configuration is an object {"providers": [...]}', ".providers")
    providers: list[Provider] = []
    for number, entry in enumerate(entries):
        place = f".providers[{number}]"
        provider = _parse_provider(entry, place)
        if any(
            (known.issuer, known.application_id) == (provider.issuer, provider.application_id)
            for known in providers
        ):
            raise _refusal("an issuer and application that an entry before it has", place)
        providers.append(provider)
    return tuple(providers)


def _parse_provider(entry: object, place: str) -> Provider:
    if not isinstance(entry, Mapping):
        raise _refusal("a provider is an object", place)
    kind = entry.get("type")
    if kind not in (None, "oidc", "customJwt"):
        raise _refusal(f"{kind!r} is no type of provider; 'customJwt' is one", f"{place}.type")
    is_custom = kind == "customJwt"
    fields = _CUSTOM_FIELDS if is_custom else _DOMAIN_FIELDS
    for name in entry:
        if name not in fields:
            raise _refusal(_unknown_field(name, fields, is_custom=is_custom), f"{place}.{name}")
    return _parse_custom(entry, place) if is_custom else _parse_domain(entry, place)


def _parse_domain(entry: Mapping[str, Any], place: str) -> Provider:
    domain = _text(entry, "domain", place)
    if "://" not in domain:
        domain = f"https://{domain}"  # Auth0 and Convex show it without
    check_url(domain, f"{place}.domain")
    application_id = _text(entry, "applicationID", place)
    algorithms = ALGORITHMS if "algorithm" not in entry else (_algorithm(entry, place),)
    return Provider(
        issuer=domain.rstrip("/"), application_id=application_id, algorithms=frozenset(algorithms)
    )


def _parse_custom(entry: Mapping[str, Any], place: str) -> Provider:
    jwks = _text(entry, "jwks", place)
    is_inline = jwks.startswith("data:")
    if not is_inline:
        check_url(jwks, f"{place}.jwks")
    return Provider(
        issuer=_text(entry, "issuer", place),
        application_id=_text(entry, "applicationID", place) if "applicationID" in entry else None,
        algorithms=frozenset([_algorithm(entry, place)]),
        is_custom=True,
        jwks_url=None if is_inline else jwks,
        keys=_inline_keys(jwks, f"{place}.jwks") if is_inline else None,
    )


def _text(entry: Mapping[str, Any], name: str, place: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip():
        found = "is missing" if value is None else f"must be text, and {value!r} is none"
        raise _refusal(f"{name!r} {found}", f"{place}.{name}")
    return value


def _algorithm(entry: Mapping[str, Any], place: str) -> str:
    name = _text(entry, "algorithm", place)
    if name not in ALGORITHMS:
        raise _refusal(
            f"{name!r} is no algorithm that is taken; {', '.join(ALGORITHMS)} are",
            f"{place}.algorithm",
        )
    return name


def _inline_keys(uri: str, place: str) -> KeySet:
    """The keys of a `data:` URI, base64 or percent-encoded (RFC 2397)."""
    head, _, data = uri.partition(",")
    if len(data) > 2 * KEY_SET_BYTES_MAX:
        raise _refusal(f"a key set of more than {KEY_SET_BYTES_MAX} bytes", place)
    try:
        raw = unquote_to_bytes(data)
        if head.lower().endswith(";base64"):
            raw = b64decode(raw, validate=True)
        return parse_key_set(json.loads(raw))
    except InvalidValueError as error:
        raise _refusal(error.message, place) from error
    except (ValueError, RecursionError) as error:
        raise _refusal(f"no JWK set is in this data: URI ({error})", place) from error


def check_url(url: str, place: str) -> None:
    """Refuse a URL that keys must not come from.

    Raises:
        InvalidValueError: not https (http is taken for this machine itself), or with a password.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or any(character.isspace() or not character.isprintable() for character in url):
        raise _refusal(f"{url!r} is no URL, such as https://shop.eu.auth0.com", place)
    if parts.username is not None or parts.password is not None:
        raise _refusal("a URL with a user name or a password in it", place)
    if parts.query and place.endswith(".domain"):
        raise _refusal(f"{url!r} is no domain: it holds a query", place)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise _refusal(
            f"{url!r} must start with https://, since whoever can change what comes from there can "
            f"sign in as anybody; http:// is for this machine itself (127.0.0.1, localhost)",
            place,
        )


def is_loopback(host: str) -> bool:
    """Whether a host name is this machine itself, without asking anybody."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unknown_field(name: object, fields: Collection[str], *, is_custom: bool) -> str:
    kind = "a customJwt provider" if is_custom else "a provider with a domain"
    near = get_close_matches(str(name), fields, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(fields)}"
    return f"{kind} has no field {name!r}{hint}"


def _refusal(reason: str, path: str = "") -> InvalidValueError:
    return InvalidValueError(
        f"{reason} (at {path})" if path and f"(at {path})" not in reason else reason,
        path=path,
        code="InvalidAuthConfig",
    )
