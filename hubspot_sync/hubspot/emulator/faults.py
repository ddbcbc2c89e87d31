"""What goes wrong on purpose, and with which request."""

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hubspot_sync.hubspot.emulator.request import Request


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next `times` requests that match."""

    method: str | None = None  # None for any
    path: str = ""  # a regular expression, searched in the path with its query string
    contains: str = ""  # text that the request's body must contain
    times: int | None = 1  # counted down with every request it befalls; None for ever
    status: int | None = None  # answered instead of doing the work
    body: Any = None  # JSON, or a text that is sent as HTML; None for what HubSpot usually says
    headers: Mapping[str, str] = field(default_factory=dict)  # such as Retry-After
    policy: str = "TEN_SECONDLY_ROLLING"  # the limit that a 429 names; also SECONDLY and DAILY
    delay: float = 0.0  # seconds before the answer, with the work done already
    after_write: bool = False  # do the work first, and only then answer `status`, or drop
    drop: bool = False  # close the connection without an answer
    # Set when a request has come to the point where it goes wrong.
    reached: threading.Event = field(default_factory=threading.Event)
    # If given, the request is held at that point until this is set.
    release: threading.Event | None = None


def take_fault(faults: Iterable[Fault], request: Request) -> Fault | None:
    """Return the first fault that befalls a request, and count it down."""
    for fault in faults:
        if (
            fault.times != 0
            and fault.method in (None, request.method)
            and re.search(fault.path, request.path)
            and fault.contains in request.text
        ):
            if fault.times is not None:
                fault.times -= 1
            return fault
    return None
