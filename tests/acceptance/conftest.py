"""The program, pointed at the test's own table and HubSpot."""

import logging
from collections.abc import Iterator

import pytest

from hubspot_sync.hubspot.emulator import Emulator
from tests.acceptance.program import Program, environment


@pytest.fixture
def program(database_url: str, hubspot: Emulator) -> Iterator[Program]:
    """The program with a table and a HubSpot."""
    handlers = list(logging.getLogger().handlers)
    yield Program(environment(database_url, hubspot.url))
    logging.getLogger().handlers[:] = handlers
