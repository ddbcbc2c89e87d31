"""Some tests of the store go through the command that makes the table."""

from tests.acceptance.conftest import program

__all__ = ["program"]
