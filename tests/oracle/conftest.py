"""The long forms run when they are asked for: `make oracle`, `pytest -m oracle`."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out this folder's long forms from a plain `pytest`."""
    if config.getoption("-m"):
        return
    folder = Path(__file__).parent
    mine = [each for each in items if folder in each.path.parents]
    long = {each for each in mine if each.get_closest_marker("oracle")}
    config.hook.pytest_deselected(items=list(long))
    items[:] = [each for each in items if each not in long]
