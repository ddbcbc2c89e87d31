"""The program, pointed at the test's own table and HubSpot."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubspot_sync.hubspot.emulator import Emulator
from tests.acceptance.program import Program, environment
from tests.acceptance.standby import standing_by


@pytest.fixture
def program(database_url: str, hubspot: Emulator) -> Iterator[Program]:
    """The program with a table and a HubSpot."""
    handlers = list(logging.getLogger().handlers)
    yield Program(environment(database_url, hubspot.url))
    logging.getLogger().handlers[:] = handlers


@pytest.fixture(scope="session")
def forked_script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`hubspot-sync` for a shell, in a folder of its own, which begins at once."""
    with standing_by(tmp_path_factory.mktemp("standby")) as executable:
        yield executable
