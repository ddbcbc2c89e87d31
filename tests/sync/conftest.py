"""The engine is tested on SQLite and on the app's table; other tables are the store's tests."""

import pytest

from tests.acceptance.conftest import program

__all__ = ["program"]


@pytest.fixture(params=["sqlite", "app"])
def shape(request: pytest.FixtureRequest) -> str:
    """Every test of the engine is run on both kinds of database."""
    return str(request.param)
