"""Public keys that verify tokens: a JWK set parsed, and a signature checked. No I/O.

A key fixes the one algorithm it is used with, by its type: RSA is RS256, P-256 is ES256, Ed25519 is
EdDSA. What a token's header says must agree, and is never followed, so nothing signed with `none`,
or with an HMAC over a public key, is ever checked that way. Keys of any other kind are left out, as
RFC 7517 section 5 asks.

The cryptography is joserfc's; this is the only module that imports it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, deserialize_compact

from livedb.errors import InvalidValueError
from livedb.limits import KEY_SET_KEYS_MAX, TOKEN_BYTES_MAX
from livedb.wording import counted

ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""What a token may be signed with. All are asymmetric: nobody can sign with what is published."""

RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A public key, the one algorithm it is for, and its name in the set."""

    kid: str | None
    algorithm: str
    key: Key

    def has_signed(self, token: bytes) -> bool:
        """Whether `token`, a JWS in its compact form, carries this key's signature.

        Cost: about 0.1 ms, whatever the token says.
        """
        try:
            deserialize_compact(token, self.key, registry=_REGISTRIES[self.algorithm])
        except (JoseError, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one issuer."""

    keys: tuple[VerificationKey, ...]

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key of that name for that algorithm; without a name, the only key for it."""
        fitting = [
            key
            for key in self.keys
            if key.algorithm == algorithm and (kid is None or key.kid == kid)
        ]
        return fitting[0] if fitting and (kid is not None or len(fitting) == 1) else None


def parse_key_set(json: Any) -> KeySet:
    """The keys of a JWK set, as decoded from its JSON, that verify signatures.

    Raises:
        InvalidValueError: no JWK set, too many keys, or none that can be used.
    """
    entries = json.get("keys") if isinstance(json, dict) else None
    if not isinstance(entries, list):
        raise InvalidValueError("no JWK set: an object with a list 'keys' was expected")
    if len(entries) > KEY_SET_KEYS_MAX:
        raise InvalidValueError(
            f"a JWK set of {counted(len(entries), 'key')}; at most {KEY_SET_KEYS_MAX} are taken"
        )
    keys = tuple(key for key in map(_parse_key, entries) if key is not None)
    if not keys:
        raise InvalidValueError(
            f"a JWK set of {counted(len(entries), 'key')}, none of which verifies "
            f"{', '.join(ALGORITHMS)}"
        )
    return KeySet(keys)


def _parse_key(entry: Any) -> VerificationKey | None:
    """The key of one entry; None where it is for something else, or damaged."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    if "verify" not in _texts(entry.get("key_ops", ["verify"])):
        return None
    algorithm = _algorithm_of(entry)
    if algorithm is None or entry.get("alg", algorithm) not in _NAMES[algorithm]:
        return None
    key_type, members = _MEMBERS[algorithm]
    # Only what makes the key: issuers write all sorts of things beside it, and a private part that
    # was published by mistake is not needed.
    material: dict[str, str | list[str]] = {
        name: value for name in ("kty", *members) if isinstance(value := entry.get(name), str)
    }
    try:
        key = key_type.import_key(material)
    except (JoseError, ValueError):
        return None
    kid = entry.get("kid")
    return VerificationKey(kid=kid if isinstance(kid, str) else None, algorithm=algorithm, key=key)


def _algorithm_of(entry: dict[str, Any]) -> str | None:
    match entry.get("kty"), entry.get("crv"):
        case "RSA", None:
            return (
                "RS256" if RSA_BITS_MIN <= _modulus_bits(entry.get("n")) <= RSA_BITS_MAX else None
            )
        case "EC", "P-256":
            return "ES256"
        case "OKP", "Ed25519":
            return "EdDSA"
    return None


def _modulus_bits(text: object) -> int:
    try:
        modulus = urlsafe_b64decode(f"{text}===")
    except ValueError:
        return 0
    return int.from_bytes(modulus, "big").bit_length()


def _texts(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else ()


_MEMBERS: dict[str, tuple[type[RSAKey | ECKey | OKPKey], tuple[str, ...]]] = {
    "RS256": (RSAKey, ("n", "e")),
    "ES256": (ECKey, ("crv", "x", "y")),
    "EdDSA": (OKPKey, ("crv", "x")),
}

_NAMES = {"RS256": ("RS256",), "ES256": ("ES256",), "EdDSA": ("EdDSA", "Ed25519")}
"""What each algorithm is called in a token's header or a JWK; RFC 9864 renames EdDSA."""


def algorithm_named(name: object) -> str | None:
    """The algorithm that a token's header names; None where it is not one of ours."""
    return next((algorithm for algorithm, names in _NAMES.items() if name in names), None)


class _Registry(JWSRegistry):
    """joserfc's table of algorithms, cut down to those of one kind of key.

    joserfc warns whenever "EdDSA" is used, since RFC 9864 calls it "Ed25519"; issuers still write
    the old name, and a warning for each token helps nobody.
    """

    max_header_length = TOKEN_BYTES_MAX
    max_payload_length = TOKEN_BYTES_MAX
    max_signature_length = TOKEN_BYTES_MAX

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise JoseError(f"{name!r} is not allowed")
        return self.algorithms[name]


_REGISTRIES = {
    # Not strict: issuers put names of their own into the header, as Clerk does with "cat".
    algorithm: _Registry(algorithms=names, strict_check_header=False)
    for algorithm, names in _NAMES.items()
}
