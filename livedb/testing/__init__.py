"""Testing tools: Hypothesis strategies for values and documents, hostile ones included.

Needs the package hypothesis.
"""

from livedb.testing.strategies import documents, hostile_documents, identifiers, values

__all__ = ["documents", "hostile_documents", "identifiers", "values"]
