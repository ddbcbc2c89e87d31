"""An emulator whose clock stands still, and a client of it."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from hubspot_sync.hubspot.emulator import Emulator
from tests.hubspot.emulator_calls import TOKEN, Call, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def emulator(clock: Clock) -> Iterator[Emulator]:
    with Emulator(clock=clock) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.trust_env = False
        opened.headers["Authorization"] = f"Bearer {TOKEN}"
        yield opened


@pytest.fixture
def call(emulator: Emulator, session: requests.Session) -> Call:
    def send(method: str, path: str, body: object = None, **options: Any) -> requests.Response:
        return session.request(method, emulator.url + path, json=body, timeout=5, **options)

    return send
