"""The program as a run that kills itself at a point: run as a module it takes that point first.

`written N` is before its Nth commit of contacts, `committed N` after it, and `answered PATTERN`
when HubSpot has answered a request whose URL matches.
"""

import os
import re
import signal
import sys
from typing import Any

import requests
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool


class Doom:
    """Counts what the run has come through, and ends it."""

    def __init__(self, point: str, which: str) -> None:
        self._point = point
        self._which = which
        self._committed = 0
        self._has_written = False

    def watch(self) -> None:
        """Listen to the run's database work and requests."""
        event.listen(Engine, "after_cursor_execute", self._note)
        event.listen(Engine, "commit", self._count)
        event.listen(Pool, "checkin", self._after_commit)
        send = requests.Session.send

        def send_and_die(session: requests.Session, request: Any, **options: Any) -> Any:
            answer = send(session, request, **options)
            self._die_if("answered", re.search(self._which, request.url) is not None)
            return answer

        requests.Session.send = send_and_die  # type: ignore[method-assign, assignment]

    def _note(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self._has_written = self._has_written or "UPDATE contacts SET" in statement

    def _count(self, _connection: object) -> None:
        if self._has_written:
            self._committed += 1
            self._has_written = False
            self._die_if("written", str(self._committed) == self._which)

    def _after_commit(self, *_: object) -> None:
        self._die_if("committed", str(self._committed) == self._which)

    def _die_if(self, point: str, is_there: bool) -> None:
        if point == self._point and is_there:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the program, doomed."""
    from hubspot_sync.cli import main as run

    Doom(*sys.argv[1:3]).watch()
    sys.argv[1:3] = []
    run()


if __name__ == "__main__":
    main()
