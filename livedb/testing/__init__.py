"""Testing tools: a workspace whose time, chance and log are yours, and Hypothesis strategies.

`workspace` needs nothing more; the strategies for values and documents, hostile ones included, need
the package hypothesis.
"""

from typing import TYPE_CHECKING, Any

from livedb.testing.workspace import Trial, workspace

if TYPE_CHECKING:
    from livedb.testing.strategies import documents, hostile_documents, identifiers, values

__all__ = ["Trial", "documents", "hostile_documents", "identifiers", "values", "workspace"]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'livedb.testing' has no attribute {name!r}")
    from livedb.testing import strategies

    return getattr(strategies, name)
