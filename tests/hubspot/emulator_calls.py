"""What the tests of the emulator share: its clock, its paths, and how its refusals are read."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import requests

Call = Callable[..., requests.Response]

TOKEN = "pat-na1-xxxxxxxx"
CONTACTS = "/crm/v3/objects/contacts"
PROPERTIES = "/crm/v3/properties/contacts"
NOON = datetime(2026, 10, 1, 16, 0, tzinfo=UTC).timestamp()  # 12:00 in New York


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def refusal(response: requests.Response) -> tuple[int, dict[str, Any]]:
    """Return status and body of a refusal, with the correlation id checked and taken out."""
    body = response.json()
    assert body.pop("correlationId") == response.headers["X-HubSpot-Correlation-Id"]
    return response.status_code, body


def inputs(*items: Mapping[str, Any]) -> dict[str, Any]:
    return {"inputs": list(items)}


def ids(response: requests.Response) -> list[str]:
    return [each["id"] for each in response.json()["results"]]


def problem(response: requests.Response) -> dict[str, Any]:
    """Return the one problem that a validation error names, from the JSON in its message."""
    status, body = refusal(response)
    assert (status, body["category"]) == (400, "VALIDATION_ERROR")
    [found] = json.loads(body["message"].removeprefix("Property values were not valid: "))
    assert body["errors"] == [
        {
            "message": found["message"],
            "code": found["error"],
            "context": {"propertyName": [found["name"]]},
        }
    ]
    return dict(found)
