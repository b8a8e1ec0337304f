"""Kinds of Arrow types that Arrow spells in several ways."""

from __future__ import annotations

import pyarrow as pa


def is_text(arrow: pa.DataType) -> bool:
    """Whether values of this type are strings, however they are laid out."""
    is_ = pa.types
    return bool(is_.is_string(arrow) or is_.is_large_string(arrow) or is_.is_string_view(arrow))


def is_bytes(arrow: pa.DataType) -> bool:
    """Whether values of this type are bytes, of any or of one length."""
    is_ = pa.types
    return bool(
        is_.is_binary(arrow)
        or is_.is_large_binary(arrow)
        or is_.is_binary_view(arrow)
        or is_.is_fixed_size_binary(arrow)
    )
