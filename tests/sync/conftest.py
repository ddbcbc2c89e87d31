"""Some tests of the engine go through the command that foretells what it does."""

from tests.acceptance.conftest import program

__all__ = ["program"]
