"""HubSpot misbehaves, at every request of a run: what the table and HubSpot hold afterwards."""

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import trustme
from sqlalchemy import Engine, event, text

from hubspot_sync.hubspot import exchange as exchange_module
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.exchange import HttpExchange, Request
from hubspot_sync.report import RunReport, RunState
from hubspot_sync.rules.reaction import Answer
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.embedded import create_table
from tests.conftest import LEASE, TOKEN, Runs, Wire
from tests.contacts import MAPPING
from tests.hubspot.test_transport import (
    HEADERS_ONLY,
    Behaviour,
    Peer,
    answering,
    dribbling,
    read_request,
    reset,
)
from tests.oracle import (
    assert_all_delivered,
    assert_complete_is_true,
    assert_nobody_twice,
    states,
)
from tests.tables import Contacts

MANY = 12
"""More than the ten that are everyone, and not a power of two: halving leaves uneven parts."""

SHORT = 0.04
"""A deadline that only a request which is not answered at all meets."""

PORTAL_ID = 24680135

Body = Any


@dataclass(frozen=True)
class Endpoint:
    """A request of a run, and the contacts and the way by which a run comes to it."""

    name: str
    method: str
    path: str
    known: Sequence[bool] = (True, False)  # in turn, contact after contact
    way: str = "queue"  # or `one`, or `takeover`: both by the careful lane
    contains: str = ""
    stored: bool = False  # known to HubSpot by another address, under the id stored

    def is_asked(self, request: Request) -> bool:
        """Tell whether a request is this one."""
        return (
            request.method == self.method
            and re.search(self.path, request.path) is not None
            and self.contains in str(request.body)
        )


PORTAL = Endpoint("portal", "POST", r"properties/contacts/batch/read$")
ACCOUNT = Endpoint("account", "GET", r"^/account-info/")
LOOK_UP = Endpoint("look-up", "POST", r"objects/contacts/batch/read$", contains="'idProperty'")
STORED = replace(LOOK_UP, name="stored-ids", contains="'scrapersky_page_id'", stored=True)
CREATE = Endpoint("create", "POST", r"/batch/create$", known=[False])
UPDATE = Endpoint("update", "POST", r"/batch/update$", known=[True])
FIND = Endpoint("find", "GET", r"objects/contacts/[^/?]+%40", way="one")
FIND_TAKEN_OVER = replace(FIND, name="find-taken-over", way="takeover", known=[False])
POST = Endpoint("careful-create", "POST", r"objects/contacts$", known=[False], way="one")
PATCH = Endpoint("careful-update", "PATCH", r"objects/contacts/\d+$", known=[True], way="one")
READ = Endpoint(
    "careful-read", "GET", r"objects/contacts/\d+$", known=[True], way="one", stored=True
)
POST_TAKEN_OVER = replace(POST, name="careful-create-taken-over", way="takeover")
PATCH_TAKEN_OVER = replace(PATCH, name="careful-update-taken-over", way="takeover")

LOOKS = [PORTAL, ACCOUNT]
BATCHES = [LOOK_UP, STORED, CREATE, UPDATE]
FINDS = [FIND, FIND_TAKEN_OVER]
WRITES_OF_ONE = [POST, PATCH, POST_TAKEN_OVER, PATCH_TAKEN_OVER]


class Line:
    """The line between the program and HubSpot, on which requests of one endpoint meet trouble.

    Attributes:
        struck: how many requests have met it.
        send: gets HubSpot's answer to a request.
    """

    def __init__(self, wire: Wire, hubspot: Emulator) -> None:
        self.hubspot = hubspot
        self.struck = 0
        self.peers: list[Peer] = []
        self.held: list[threading.Event] = []
        self.late: list[Request] = []
        self.send = wire.send
        self._endpoint: Endpoint | None = None
        self._trouble: Trouble | None = None
        self._times = 0
        wire.exchange = self._pass

    def break_down(self, endpoint: Endpoint, trouble: "Trouble", times: int | None) -> None:
        """Let the next requests of an endpoint meet trouble; None for all of them."""
        self._endpoint, self._trouble = endpoint, trouble
        self._times = 1_000_000 if times is None else times

    def mend(self) -> None:
        """Let everything go well from now on."""
        self._endpoint = None
        self.hubspot.clear_faults()

    def close(self) -> None:
        """Let go of all that is held."""
        for release in self.held:
            release.set()
        for peer in self.peers:
            peer.close()

    def elsewhere(self, url: str, request: Request, seconds: float = 5.0) -> Answer:
        """Send a request to another server, or with another patience."""
        exchange = HttpExchange(url, TOKEN, timeout_seconds=seconds)
        try:
            return exchange(request)
        finally:
            exchange.close()

    def serve(self, behaviour: Behaviour) -> Peer:
        """Start another server, the same one for all requests of a test."""
        if not self.peers:
            self.peers.append(Peer(behaviour))
        return self.peers[0]

    def is_forwarded(self, trouble: "Trouble") -> bool:
        """Tell whether a redirect was followed."""
        return "redirect" in trouble.name and any(peer.connections for peer in self.peers)

    def _pass(self, request: Request) -> Answer:
        endpoint, trouble = self._endpoint, self._trouble
        if endpoint is None or trouble is None or not endpoint.is_asked(request):
            return self.send(request)
        while self.late:
            self.send(self.late.pop())
        if self._times < 1:
            return self.send(request)
        self._times -= 1
        self.struck += 1
        return trouble.strike(self, request)


Strike = Callable[[Line, Request], Answer]


@dataclass(frozen=True)
class Trouble:
    """One thing that goes wrong with a request.

    Attributes:
        stops: HubSpot asks to come back later than a run can wait.
        lies: HubSpot answers with a success that is none, or not ours.
        limits: it is a rate limit, which never costs an attempt.
    """

    name: str
    strike: Strike = field(repr=False)
    stops: bool = False
    lies: bool = False
    limits: bool = False


def answered(**fault: Any) -> Strike:
    """HubSpot, or what stands before it, answers this."""

    def strike(line: Line, request: Request) -> Answer:
        line.hubspot.fault(**fault)
        return line.send(request)

    return strike


def held(*, after_write: bool) -> Strike:
    """HubSpot takes the request, and is silent for longer than we wait."""

    def strike(line: Line, request: Request) -> Answer:
        line.held.append(threading.Event())
        line.hubspot.fault(drop=True, after_write=after_write, release=line.held[-1])
        return line.elsewhere(line.hubspot.url, request, SHORT)

    return strike


def carried_out_late(line: Line, request: Request) -> Answer:
    """HubSpot is silent for longer than we wait, and does it when we have sent it once more."""
    line.late.append(request)
    return line.elsewhere(line.serve(dribbling(b"", b"")).url, request, SHORT)


def met_by(behaviour: Behaviour, seconds: float = 5.0, *, after_write: bool = False) -> Strike:
    """Another server stands in for HubSpot, which has done the work, or not."""

    def strike(line: Line, request: Request) -> Answer:
        if after_write:
            line.send(request)
        return line.elsewhere(line.serve(behaviour).url, request, seconds)

    return strike


def refused(line: Line, request: Request) -> Answer:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return line.elsewhere(f"http://127.0.0.1:{port}", request)


def redirected(status: int) -> Strike:
    """A redirect to another host, which must not hear of the token."""

    def strike(line: Line, request: Request) -> Answer:
        location = line.serve(answering(b"")).url
        line.hubspot.fault(status=status, headers={"Location": location})
        return line.send(request)

    return strike


def distrusted(line: Line, request: Request) -> Answer:
    """A server whose certificate nobody vouches for."""

    def behave(connection: socket.socket, _closing: threading.Event) -> None:
        with UNKNOWN_AUTHORITY.wrap_socket(connection, server_side=True) as tls:
            read_request(tls)
            pytest.fail("the token was sent to a stranger")

    return line.elsewhere(line.serve(behave).url.replace("http:", "https:"), request)


def _unknown_authority() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


UNKNOWN_AUTHORITY = _unknown_authority()


def flood(connection: socket.socket, closing: threading.Event) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while not closing.is_set():
        connection.sendall(b" " * 65_536)


def reset_at_once(connection: socket.socket, _closing: threading.Event) -> None:
    read_request(connection)
    reset(connection)


def twisted(twist: Callable[[Body], Body], *, status: int = 207) -> Strike:
    """HubSpot does the work, and says something else about it."""

    def strike(line: Line, request: Request) -> Answer:
        answer = line.send(request)
        return replace(answer, status=status, body=twist(answer.body))

    return strike


def leave_out(count: int | None) -> Callable[[Body], Body]:
    return lambda body: body | {"results": body["results"][count:] if count else []}


def without(name: str) -> Callable[[Body], Body]:
    return lambda body: {key: value for key, value in body.items() if key != name}


def twice(body: Body) -> Body:
    return body | {"results": body["results"] + body["results"][:2]}


def with_strangers(body: Body) -> Body:
    return body | {"results": [STRANGER, *body["results"], STRANGER | {"id": "777"}]}


def named_twice(body: Body) -> Body:
    """Refuse what the results confirm."""
    first = body["results"][0] if body["results"] else STRANGER
    context = {"ids": [first["id"]], "objectWriteTraceId": [first.get("objectWriteTraceId", "?")]}
    error = {"status": "error", "category": "VALIDATION_ERROR", "message": "no", "context": context}
    return body | {"numErrors": 1, "errors": [*body.get("errors", ()), error]}


def miscounted(count: int) -> Callable[[Body], Body]:
    return lambda body: body | {"numErrors": count}


def untraced(body: Body) -> Body:
    return body | {
        "results": [
            {key: value for key, value in entry.items() if key != "objectWriteTraceId"}
            for entry in body["results"]
        ]
    }


STRANGER = {"id": "999", "properties": {"email": "stranger@example.com"}, "archived": False}
NO_REASON = {"status": "error", "category": "VALIDATION_ERROR", "message": "no"}
NOT_FOUND = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "gone"}
CUT_SHORT = '{"status": "COMPLETE", "results": [{"id": "1", "properties": {"email": "c0@exa'
PAGE = "<html><body><h1>Welcome</h1></body></html>"


def statuses() -> Iterator[Trouble]:
    for status in (423, 500, 502, 503, 504, 520, 521, 522, 523, 524):
        yield Trouble(str(status), answered(status=status))
    for status in (500, 502, 504, 524):
        yield Trouble(f"{status}-after-write", answered(status=status, after_write=True))
    yield Trouble("423-wait", answered(status=423, headers={"Retry-After": "2"}))
    yield Trouble("503-wait", answered(status=503, headers={"Retry-After": "7"}))
    yield Trouble("503-hour", answered(status=503, headers={"Retry-After": "3600"}), stops=True)
    yield Trouble("502-json", answered(status=502, body={"message": "bad gateway"}))
    yield Trouble("503-nonsense", answered(status=503, headers={"Retry-After": "soon"}))
    for name, headers in (("477", {}), ("477-hour", {"Retry-After": "3600"})):
        yield Trouble(name, answered(status=477, headers=headers), stops=True)


def limits() -> Iterator[Trouble]:
    waits = {
        "": {},
        "-seconds": {"Retry-After": "7"},
        "-date": {"Retry-After": "Tue, 24 Nov 2026 09:30:20 GMT"},
        "-nonsense": {"Retry-After": "soon"},
        "-hour": {"Retry-After": "3600"},
    }
    for policy in ("SECONDLY", "TEN_SECONDLY_ROLLING", "DAILY"):
        for name, headers in waits.items():
            yield Trouble(
                f"429-{policy}{name}",
                answered(status=429, policy=policy, headers=headers),
                stops=policy == "DAILY" or name == "-hour",
                limits=True,
            )
    yield Trouble("429-html", answered(status=429, body=PAGE), limits=True)


def lines() -> Iterator[Trouble]:
    yield Trouble("refused", refused)
    yield Trouble("dropped", answered(drop=True))
    yield Trouble("dropped-after-write", answered(drop=True, after_write=True))
    yield Trouble("reset", met_by(reset_at_once))
    yield Trouble("reset-after-write", met_by(reset_at_once, after_write=True))
    yield Trouble("certificate", distrusted)
    yield Trouble("never-ends", met_by(flood))
    yield Trouble("never-ends-after-write", met_by(flood, after_write=True))
    slowly = dribbling(HEADERS_ONLY, b" ")
    yield Trouble("dribbles", met_by(slowly, SHORT))
    yield Trouble("dribbles-after-write", met_by(slowly, SHORT, after_write=True))
    yield Trouble("cut-off", met_by(answering(HEADERS_ONLY + b'{"id":')))
    yield Trouble("time-out", held(after_write=False))
    yield Trouble("time-out-after-write", held(after_write=True))
    yield Trouble("carried-out-late", carried_out_late)
    for status in (302, 307):
        yield Trouble(f"redirect-{status}", redirected(status))


def nonsense() -> Iterator[Trouble]:
    """Successes that are not HubSpot's JSON, so that they are no answer at all."""
    bodies: dict[str, Any] = {"html": PAGE, "cut-short": CUT_SHORT, "empty": "", "list": []}
    for name, body in bodies.items():
        yield Trouble(f"200-{name}", answered(status=200, body=body))
        yield Trouble(f"200-{name}-after-write", answered(status=200, body=body, after_write=True))


def lies(bodies: Mapping[str, Any], status: int) -> Iterator[Trouble]:
    for name, body in bodies.items():
        yield Trouble(name, answered(status=status, body=body), lies=True)
        yield Trouble(
            f"{name}-after-write",
            answered(status=status, body=body, after_write=True),
            lies=True,
        )


def twists() -> Iterator[Trouble]:
    """What HubSpot may say of a batch that it has carried out."""
    made: dict[str, Callable[[Body], Body]] = {
        "leaves-out-one": leave_out(1),
        "leaves-out-most": leave_out(MANY - 1),
        "leaves-out-all": leave_out(None),
        "no-results": without("results"),
        "same-twice": twice,
        "strangers": with_strangers,
        "confirmed-and-refused": named_twice,
        "counts-errors-that-are-not-there": miscounted(7),
        "counts-no-errors": miscounted(0),
        "no-trace-ids": untraced,
        "null-errors": lambda body: body | {"errors": None},
    }
    for name, twist in made.items():
        yield Trouble(name, twisted(twist), lies=True)


EVERYWHERE = [*statuses(), *limits(), *lines(), *nonsense()]

UNFULFILLED = {
    "lacks-all": {},
    "null-results": {"results": None},
    "no-list": {"results": {"id": "1"}},
    "empty-entries": {"results": [{}, {"id": None}, "?"]},
}

OF_BATCHES = [
    *lies(UNFULFILLED | {"nobody": {"results": []}, "stranger": {"results": [STRANGER]}}, 200),
    *lies(
        {
            "errors-without-context": {"results": [], "numErrors": 1, "errors": [NO_REASON]},
            "empty-errors": {"results": [], "numErrors": 2, "errors": [{}, None]},
            "odd-context": {"results": [], "errors": [NO_REASON | {"context": ["?"]}]},
            "unknown-ids": {
                "results": [],
                "errors": [NOT_FOUND | {"context": {"ids": ["999"], "objectWriteTraceId": ["?"]}}],
            },
            "only-a-count": {"results": [], "numErrors": 12},
        },
        207,
    ),
    *twists(),
]

OF_ONE = [
    *lies({"lacks-all": {}, "no-id": {"properties": {}}, "null-id": STRANGER | {"id": None}}, 200)
]

ABOUT_ANOTHER = [*lies({"another-contact": STRANGER}, 200)]

OF_PORTAL = [
    *lies(
        UNFULFILLED | {"nothing": {"results": []}, "other": {"results": [{"name": "phone"}]}}, 200
    )
]

OF_ACCOUNT = [*lies({"lacks-all": {}, "null": {"portalId": None}, "other": {"portalId": 1}}, 200)]


MEETINGS: list[tuple[list[Endpoint], list[Trouble], int]] = [
    ([*LOOKS, *BATCHES, *FINDS, READ, *WRITES_OF_ONE], EVERYWHERE, 13),
    ([LOOK_UP, CREATE, UPDATE], OF_BATCHES, 3),
    ([STORED], OF_BATCHES, 6),
    ([*FINDS, READ, *WRITES_OF_ONE], OF_ONE, 4),
    ([*FINDS, *WRITES_OF_ONE], ABOUT_ANOTHER, 3),
    ([PORTAL], OF_PORTAL, 3),
    ([ACCOUNT], OF_ACCOUNT, 2),
]
"""Which requests meet which troubles; of these pairs every so many-eth is tried at once."""

ON_POSTGRESQL = [
    (CREATE, "dropped-after-write"),
    (CREATE, "429-SECONDLY"),
    (UPDATE, "502-after-write"),
    (LOOK_UP, "429-DAILY"),
    (POST_TAKEN_OVER, "time-out-after-write"),
    (PATCH, "200-html"),
]
"""The outcomes that a database must write, each by one of the troubles that lead to it."""


def cases(shift: int) -> list[Any]:
    """Return every pair; a choice of them now, the others where there is time for all."""
    made = [
        pytest.param(
            "sqlite",
            endpoint,
            trouble,
            id=f"{endpoint.name}-{trouble.name}",
            # On the diagonal: every request, and every trouble, at one request or another.
            marks=() if (row + column + shift) % step == 0 else pytest.mark.long,
        )
        for endpoints, troubles, step in MEETINGS
        for row, endpoint in enumerate(endpoints)
        for column, trouble in enumerate(troubles)
    ]
    by_name = {trouble.name: trouble for trouble in EVERYWHERE}
    made += [
        pytest.param("app", endpoint, by_name[name], id=f"app-{endpoint.name}-{name}")
        for endpoint, name in ON_POSTGRESQL
    ]
    return made


@pytest.fixture(scope="module")
def one_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One database for all cases: what is compiled for the first serves the others."""
    made = make_engine(
        f"sqlite:///{tmp_path_factory.mktemp('faults') / 'contacts.db'}", create=True
    )

    @event.listens_for(made, "connect")
    def hurry(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    create_table(made, BUILT_IN_SOURCE)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def one_hubspot() -> Iterator[Emulator]:
    """One HubSpot for all cases, each of which finds it empty."""
    with Emulator(token=TOKEN, portal_id=PORTAL_ID) as emulator:
        for custom in MAPPING.custom_properties:
            emulator.add_property(
                {"name": custom.name, "type": custom.type, "fieldType": custom.field_type}
            )
        yield emulator


@pytest.fixture
def hubspot(one_hubspot: Emulator) -> Emulator:
    """That HubSpot, empty and in order."""
    one_hubspot.clear_faults()
    for contact in one_hubspot.contacts():
        one_hubspot.delete_contact(contact["id"])
    return one_hubspot


@pytest.fixture(scope="module")
def one_app_engine(app_url: str) -> Iterator[Engine]:
    """The app's database, likewise."""
    made = make_engine(f"postgresql+psycopg2://{app_url.partition('://')[2]}")
    yield made
    made.dispose()


@pytest.fixture
def engine(request: pytest.FixtureRequest, shape: str) -> Engine:
    """The one engine of this shape."""
    name = "one_engine" if shape == "sqlite" else "one_app_engine"
    made: Engine = request.getfixturevalue(name)
    return made


@pytest.fixture
def line(wire: Wire, hubspot: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The line to HubSpot, in order until it is broken."""
    monkeypatch.setattr(exchange_module, "LONGEST_ANSWER_BYTES", 300_000)
    made = Line(wire, hubspot)
    yield made
    made.close()


def fill(table: Contacts, hubspot: Emulator, endpoint: Endpoint) -> list[str]:
    """Put contacts into the table, and those that HubSpot is to know there too."""
    rows: list[dict[str, Any]] = []
    count = MANY if endpoint.way == "queue" else len(endpoint.known)
    for number in range(count):
        email, page = f"c{number}@example.com", str(uuid4())
        row: dict[str, Any] = {
            "id": str(uuid4()),
            "domain": str(uuid4()),
            "page": page,
            "email": email,
        }
        row |= {"stored": None, "decision": "Selected", "state": "Queued", "retries": 0}
        if endpoint.stored:
            ids = {"scrapersky_domain_id": row["domain"], "scrapersky_page_id": page}
            row["stored"] = hubspot.add_contact({"email": f"old-{email}", **ids})
        elif endpoint.known[number % len(endpoint.known)]:
            hubspot.add_contact({"email": email})
        if endpoint.way == "takeover":
            # A worker died of it before, so it is taken over alone.
            row |= {"decision": "Processing", "state": "Processing", "retries": 1}
        rows.append(row)
    with table.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO contacts (id, domain_id, page_id, email, hubspot_sync_status, "
                "hubspot_processing_status, hubspot_contact_id, retry_count) "
                "VALUES (:id, :domain, :page, :email, :decision, :state, :stored, :retries)"
            ),
            rows,
        )
    table.age_all(LEASE + timedelta(seconds=1))
    return [str(UUID(row["id"])) for row in rows]


def run(runs: Runs, endpoint: Endpoint, keys: list[str]) -> list[RunReport]:
    if endpoint.way == "one":
        return [runs.one(key) for key in keys]
    portal_id = str(PORTAL_ID) if endpoint is ACCOUNT else None
    return [runs.queue(portal_id=portal_id)]


def assert_sound(table: Contacts, hubspot: Emulator) -> None:
    """What must hold after every run, whatever has happened."""
    assert_nobody_twice(hubspot)
    assert_complete_is_true(table, hubspot)
    for state in states(table.rows()):
        assert "Processing" not in state
        assert state != ("Error", "Error")


def retry_counts(table: Contacts) -> set[int]:
    return {row["retry_count"] for row in table.rows()}


@pytest.mark.parametrize(("shape", "endpoint", "trouble"), cases(0))
def test_trouble_met_once_costs_nobody_an_attempt_and_no_contact(
    table: Contacts,
    runs: Runs,
    hubspot: Emulator,
    line: Line,
    endpoint: Endpoint,
    trouble: Trouble,
) -> None:
    keys = fill(table, hubspot, endpoint)
    line.break_down(endpoint, trouble, times=1)
    reports = run(runs, endpoint, keys)
    assert line.struck == 1
    assert not line.is_forwarded(trouble)
    assert_sound(table, hubspot)
    if any(report.state is RunState.STOPPED for report in reports):
        # Nothing is sent to a portal that looks wrong, even where it looks so only once.
        assert trouble.stops or (trouble.lies and endpoint in LOOKS), reports
        assert max(retry_counts(table)) <= 2 * (endpoint.way == "takeover")
        table.age_all(timedelta(minutes=5))
        run(runs, endpoint, keys)
    else:
        assert {report.state for report in reports} == {RunState.DONE}, reports
    assert_all_delivered(table, hubspot)


@pytest.mark.parametrize(("shape", "endpoint", "trouble"), cases(4))
def test_trouble_without_an_end_costs_no_contact_and_everyone_no_attempt(
    table: Contacts,
    runs: Runs,
    hubspot: Emulator,
    line: Line,
    endpoint: Endpoint,
    trouble: Trouble,
) -> None:
    keys = fill(table, hubspot, endpoint)
    line.break_down(endpoint, trouble, times=None)
    reports = run(runs, endpoint, keys)
    assert line.struck >= 1
    assert not line.is_forwarded(trouble)
    assert_sound(table, hubspot)
    # A takeover spends an attempt; and of one contact alone nobody can tell that it is everyone.
    is_alone = endpoint.way != "queue" and not (trouble.limits or trouble.stops)
    assert max(retry_counts(table)) <= 2 * (endpoint.way == "takeover") + is_alone, reports
    line.mend()
    table.age_all(timedelta(hours=1))
    assert runs.queue().state is RunState.DONE
    assert_all_delivered(table, hubspot)


@pytest.mark.parametrize("shape", ["sqlite"])
def test_takeovers_that_all_meet_one_trouble_stop_the_run_at_the_tenth(
    table: Contacts, runs: Runs, hubspot: Emulator, line: Line
) -> None:
    """They go one at a time, so the first nine are settled before it is clear: each pays once."""
    fill(table, hubspot, replace(FIND_TAKEN_OVER, known=[False] * MANY))
    line.break_down(FIND, Trouble("500", answered(status=500)), times=None)
    report = runs.queue()
    assert (report.state, report.claimed) == (RunState.STOPPED, 10)
    assert "takes no writes" in str(report.reason)
    assert max(retry_counts(table)) == 3
    line.mend()
    table.age_all(timedelta(hours=1))
    assert runs.queue().state is RunState.DONE
    assert_all_delivered(table, hubspot)
