"""What a SQL text says before anybody runs it."""

from __future__ import annotations

import duckdb


def parameter_names(text: str) -> list[str]:
    """The names of `$name` parameters; none of a text that cannot be parsed."""
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error:
        return []
    return sorted({str(name) for each in statements for name in each.named_parameters})
