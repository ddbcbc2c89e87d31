"""Secrets stay secret, TLS stays on, and nothing is erased or opened to others by accident."""

import ast
import json
import os
import pty
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
import trustme
import urllib3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from hubspot_sync.cli import app
from hubspot_sync.environment import exposed
from hubspot_sync.errors import DatabaseUnavailable, SettingsError
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.run import Plan
from hubspot_sync.settings import Settings, load_settings
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from tests.acceptance.program import ROOT, Ended, Program
from tests.conftest import LEASE, POLICY, TOKEN, Runs
from tests.contacts import contacts_client
from tests.for_each import for_each
from tests.tables import CONTACTS, Contacts

PACKAGE = ROOT / "hubspot_sync"
PASSWORD = "pw-not-for-show"
SECRET = "pat-na1-11111111-2222-3333-4444-555555555555"
NOWHERE = f"postgresql://me:{PASSWORD}@127.0.0.1:1/none"
AT_ONCE = {"Retry-After": "0"}
on_sqlite = pytest.mark.parametrize("shape", ["sqlite"])

COMMANDS = (
    ("sync-queue", "--report", "report.jsonl"),
    ("sync-queue", "--dry-run"),
    ("sync-queue", "--drain", "--json"),
    ("sync-one", "{contact}"),
    ("sync-one", "{contact}", "--dry-run", "--json"),
    ("create-properties",),
    ("create-properties", "--dry-run", "--json"),
    ("mapping",),
    ("mapping", "--json"),
    ("reset", "--all", "--yes", "--backup", "copy.jsonl"),
    ("reset", "--all", "--dry-run", "--json"),
    ("skip", "{contact}"),
    ("init-db", "--indexes"),
    ("init-db", "--queue-columns"),
)
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "401": {"status": 401},
    "403": {"status": 403},
    "302": {"status": 302, "headers": {"Location": "/login", **AT_ONCE}},
    "400": {"status": 400, "body": {"message": "no", "category": "VALIDATION_ERROR"}},
    "429": {"status": 429, "policy": "DAILY"},
    "477": {"status": 477},
    "503": {"status": 503, "headers": AT_ONCE},
}


def written(folder: Path) -> str:
    """Return the contents of all files below a folder, the database's included."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in files)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off takes no time."""
    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", lambda *_: None)


# The token


@pytest.mark.parametrize("fault", FAULTS)
@on_sqlite
def test_token_is_nowhere_whatever_fails(
    table: Contacts, program: Program, hubspot: Emulator, tmp_path: Path, fault: str, at_once: None
) -> None:
    for number in range(3):
        table.add(f"c{number}@example.com", hubspot_contact_id="9001")
    contact = str(table.add())
    program.environment["HUBSPOT_API_KEY"] = hubspot.token = SECRET
    if FAULTS[fault]:
        hubspot.fault(path="/crm/v3", times=None, **FAULTS[fault])
    for command in COMMANDS:
        Path("copy.jsonl").unlink(missing_ok=True)
        words = [word.format(contact=contact) for word in command]
        ended = program.run(*words, "--verbose")
        assert SECRET not in ended.out + ended.err, command
        assert SECRET not in written(tmp_path), command
    assert SECRET not in json.dumps(table.rows(), default=str)
    assert hubspot.request_count > 0


# shows a fault: HubSpot's words are kept and shown whole, a token in them included
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
@on_sqlite
def test_token_that_an_answer_repeats_is_nowhere(
    table: Contacts, program: Program, hubspot: Emulator, tmp_path: Path, status: int
) -> None:
    key = table.add()
    body = {
        "message": f"Bearer {TOKEN} may not do this",
        "category": TOKEN,
        "errors": [{"message": TOKEN, "code": TOKEN, "context": {"propertyName": [TOKEN]}}],
    }
    hubspot.fault(path="/contacts(/batch/create)?$", status=status, body=body, times=None)
    ended = program.run("sync-queue", "--verbose", "--report", "report.jsonl")
    assert TOKEN not in ended.out + ended.err
    assert TOKEN not in json.dumps(table.row(key), default=str)
    assert TOKEN not in Path("report.jsonl").read_text()


@on_sqlite
def test_token_is_not_in_the_process_list(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    table.add()
    release = threading.Event()
    fault = hubspot.fault(method="POST", path="/batch/create", release=release)
    try:
        with program.start_afresh("sync-queue") as process:
            assert fault.reached.wait(20)
            listed = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            named = Path(f"/proc/{process.pid}/comm").read_bytes()
            release.set()
            process.communicate(timeout=20)
    finally:
        release.set()
    assert b"sync-queue" in listed
    assert TOKEN.encode() not in listed + named
    assert process.returncode == 0


def test_secrets_are_in_no_repr(pulse: Any) -> None:
    loaded = load_settings({"HUBSPOT_API_KEY": SECRET, "DATABASE_URL": NOWHERE})
    transport = Transport(loaded.base_url, SECRET, timeout_seconds=5, pulse=pulse)
    client = contacts_client(transport)
    engine = make_engine(loaded.database_url)
    queue = ContactQueue(engine, CONTACTS, policy=POLICY, lease=LEASE)
    plan = Plan(mapping=loaded.mapping, lease=LEASE, attempts=4)
    for each in (loaded, transport, client, engine, engine.url, queue, plan):
        told = f"{each!r} {each!s} {each} {getattr(each, '__dict__', '')}"
        assert SECRET not in told
        assert PASSWORD not in told
    transport.close()
    engine.dispose()


def test_settings_are_shown_without_their_secrets_where_one_is_replaced() -> None:
    assert repr(Settings(api_key=SECRET)) == repr(Settings())
    with pytest.raises(TypeError) as caught:
        Settings(api_key=SECRET, no_such=1)  # type: ignore[call-arg]
    assert SECRET not in str(caught.value)


# Settings in the wrong place

WRONG_PLACES = (
    *("HUBSPOT_PORTAL_ID", "HUBSPOT_API_BASE_URL", "HUBSPOT_API_VERSION", "DATABASE_URL"),
    *("HUBSPOT_TIMEOUT_SECONDS", "HUBSPOT_SYNC_WORKERS", "HUBSPOT_SYNC_RETRY_EXPONENTIAL"),
    *("HUBSPOT_CUSTOM_PROPERTY_DOMAIN_ID", "HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT"),
    "HUBSPOT_SYNC_MAPPING",
)


# shows a fault: a token with something before it is shown
@for_each(
    "form",
    [
        "{}",
        "Bearer {}",
        '"{}"',
        "'{}'",
        "HUBSPOT_API_KEY={}",
        "https://api.hubapi.com/?hapikey={}",
        "https://{}@api.hubapi.com/x",
    ],
)
@for_each("key", ["", SECRET])
def test_token_in_the_wrong_setting_is_not_shown(form: str, key: str) -> None:
    for variable in WRONG_PLACES:
        with pytest.raises(SettingsError) as caught:
            load_settings({"HUBSPOT_API_KEY": key, variable: form.format(SECRET)})
        assert variable in str(caught.value)
        assert SECRET not in str(caught.value)


@for_each("variable", [name for name in WRONG_PLACES if name != "DATABASE_URL"])
def test_database_address_in_the_wrong_setting_is_not_shown(variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"HUBSPOT_API_KEY": SECRET, variable: NOWHERE})
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("command", ["sync-queue", "create-properties", "init-db"])
def test_wrong_settings_show_no_secret(command: str, tmp_path: Path) -> None:
    Path(".env").write_text(
        f"HUBSPOT_API_KEY='{SECRET} x'\nDATABASE_URL=mysql://u:{PASSWORD}@h/d\n"
    )
    Path(".env").chmod(0o600)
    ended = Program({"HUBSPOT_PORTAL_ID": SECRET}).run(command, "--verbose", "--json")
    assert ended.code == 2
    assert SECRET not in ended.out + ended.err
    assert PASSWORD not in ended.out + ended.err


# The database's password


def database_commands() -> list[list[str]]:
    key = str(uuid4())
    return [
        ["sync-queue"],
        ["sync-queue", "--dry-run"],
        ["sync-one", key],
        ["reset", "--all", "--yes"],
        ["init-db", "--indexes"],
    ]


# shows a fault: part of a password with an @ in it counts as the host, which is shown; and a
# password in the port's place ends in a ValueError that --verbose shows
@for_each(
    "url",
    [
        pytest.param(NOWHERE, id="no-server"),
        pytest.param(f"postgresql://me:half@{PASSWORD}@127.0.0.1:1/none", id="at-sign"),
        pytest.param(f"postgresql://me:{PASSWORD}%40x@127.0.0.1:1/none", id="encoded"),
        pytest.param(f"postgresql://me:{PASSWORD}/x@127.0.0.1:1/none", id="slash"),
        pytest.param(f"postgresql://me:{PASSWORD}#x@127.0.0.1:1/none", id="hash"),
        pytest.param(f"postgresql://me:{PASSWORD}/none", id="no-host"),
        pytest.param(f"postgresql://127.0.0.1:1/none?password={PASSWORD}", id="query"),
        pytest.param(f"postgresql://me:{PASSWORD}@127.0.0.1:port/none", id="no-port"),
        pytest.param(f"postgresql://me:{PASSWORD}@[::1/none", id="broken-address"),
    ],
)
def test_database_password_is_nowhere_where_the_database_is_out_of_reach(url: str) -> None:
    program = Program({"DATABASE_URL": url, "HUBSPOT_API_KEY": SECRET})
    for command in database_commands():
        ended = program.run(*command, "--verbose", "--json")
        assert ended.code in (2, 3)
        assert PASSWORD not in ended.out + ended.err, command
        assert "fault of its own" not in ended.err, command


def test_database_password_that_is_refused_is_nowhere(plain_url: str) -> None:
    before, _, rest = plain_url.partition("://")
    address = rest.rpartition("@")[2]
    url = f"{before}://nobody:{PASSWORD}@{address}"
    for command in database_commands():
        ended = Program({"DATABASE_URL": url, "HUBSPOT_API_KEY": SECRET}).run(*command, "--verbose")
        assert ended.code == 3
        assert PASSWORD not in ended.out + ended.err


def test_database_password_is_in_no_error_nor_in_what_caused_it() -> None:
    queue = ContactQueue(
        make_engine(load_settings({"DATABASE_URL": NOWHERE}).database_url),
        CONTACTS,
        policy=POLICY,
        lease=LEASE,
    )
    with pytest.raises(DatabaseUnavailable) as caught:
        queue.claim(1)
    error: BaseException | None = caught.value
    while error is not None:
        assert PASSWORD not in f"{error} {error!r} {error.args!r} {vars(error)!r}"
        error = error.__cause__ or error.__context__


# TLS


@contextmanager
def tls_server(certificate: trustme.LeafCert) -> Iterator[tuple[str, list[bytes]]]:
    """A server with a certificate; yields its address and the requests that it could read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    read: list[bytes] = []
    answer = b'HTTP/1.1 401 No\r\nContent-Length: 16\r\n\r\n{"message":"no"}'

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with (
                connection,
                suppress(OSError),
                context.wrap_socket(connection, server_side=True) as tls,
            ):
                read.append(whole_request(tls))
                tls.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}", read
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def whole_request(connection: socket.socket) -> bytes:
    """Read to the end: a connection closed with words unread would take the answer with it."""
    read = b""
    while True:
        head, found, body = read.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        if found and len(body) >= (int(length[1]) if length else 0):
            return read
        more = connection.recv(65_536)
        if not more:
            return read
        read += more


NO_SWITCH = {
    "PYTHONHTTPSVERIFY": "0",
    "CURL_CA_BUNDLE": "",
    "REQUESTS_CA_BUNDLE": "",
    "HUBSPOT_VERIFY": "false",
    "HUBSPOT_VERIFY_TLS": "0",
    "HUBSPOT_INSECURE": "1",
    "SSL_VERIFY": "0",
}


@on_sqlite
def test_server_whose_certificate_nobody_vouches_for_learns_no_token(
    table: Contacts, program: Program, at_once: None
) -> None:
    key = table.add()
    with tls_server(trustme.CA().issue_cert("127.0.0.1")) as (url, read):
        for more in ({}, NO_SWITCH):
            ended = program.run("sync-queue", HUBSPOT_API_BASE_URL=url, **more)
            assert ended.code == 3
            assert "cannot be reached" in ended.err
    assert read == []
    assert table.state(key) == ("Selected", "Queued")


@on_sqlite
def test_server_with_another_hosts_certificate_learns_no_token(
    table: Contacts, program: Program, at_once: None, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    more = {"REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem")}
    table.add()
    with tls_server(authority.issue_cert("api.hubapi.com")) as (url, read):
        assert program.run("sync-queue", HUBSPOT_API_BASE_URL=url, **more).code == 3
    assert read == []
    # With the right name it is spoken to, so it was the name.
    with tls_server(authority.issue_cert("127.0.0.1")) as (url, read):
        ended = program.run("sync-queue", HUBSPOT_API_BASE_URL=url, **more)
    assert "does not accept the token" in ended.err
    assert TOKEN.encode() in read[0]


def test_source_switches_no_verification_off() -> None:
    forbidden = {"CERT_NONE", "_create_unverified_context", "disable_warnings", "check_hostname"}
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", None) or getattr(node, "id", None)
            if name in forbidden | {"verify"} or getattr(node, "arg", None) == "verify":
                found.append(f"{path.name}:{getattr(node, 'lineno', 0)}: {name}")
    assert found == []


def test_no_setting_and_no_option_is_about_verification() -> None:
    source = (PACKAGE / "settings.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"(HUBSPOT_[A-Z_]+|DATABASE_URL)"', source))
    options = {
        option
        for command in get_command(app).commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
    }
    words = re.compile(r"verif|insecure|ssl|tls|cert", re.IGNORECASE)
    assert len(names) > 10
    assert not [name for name in names | options if words.search(name)]


# Where the token goes


@on_sqlite
def test_netrc_is_ignored(table: Contacts, program: Program, tmp_path: Path) -> None:
    key = table.add()
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login x password y\n")
    netrc.chmod(0o600)
    assert requests.utils.get_netrc_auth("http://127.0.0.1:1/") == ("somebody", "else")
    assert program.run("sync-queue", NETRC=str(netrc)).code == 0
    assert table.state(key) == ("Complete", "Complete")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["elsewhere", "same-host"])
@on_sqlite
def test_redirect_is_never_followed(
    table: Contacts, runs: Runs, hubspot: Emulator, status: int, where: str
) -> None:
    key = table.add()
    with Emulator(token=TOKEN) as other:
        target = f"{other.url if where == 'elsewhere' else hubspot.url}/crm/v3/objects/login"
        hubspot.fault(status=status, headers={"Location": target}, body={}, times=None)
        report = runs.queue()
        assert other.request_count == 0
    assert report.state == "stopped"
    assert not [path for _, path in hubspot.requests if "login" in path]
    assert "Processing" not in table.state(key)


UNSAFE = (
    *("http://127.0.0.1.evil.com", "http://localhost.evil.com", "http://localhost.", "http://evil"),
    *("http://localhost@evil.com", "http://127.0.0.1:80@evil.com", "http://localhost:x@evil.com"),
    *("http://localhost\\@evil.com", "http://evil.com\\@localhost", "http://evil.com#@localhost"),
    *("http://evil.com?@localhost", "http://evil.com/@localhost", "http://evil.com;@localhost"),
    *(
        "http://localhost%00.evil.com",
        "http://localhost%2eevil.com",
        "http://localhost\uff0f.evil.com",
    ),
    *("http://127.1", "http://2130706433", "http://0x7f000001", "http://0177.0.0.1"),
    *("http://0.0.0.0", "http://[::]", "http://[::ffff:127.0.0.1]", "http://[::1].evil.com"),
    *("http://127.0.0.2", "http://10.0.0.1", "http://localhost:99999", "http:///localhost"),
    *("http:localhost", "http:/localhost", "http:\\\\localhost", "http://", "http://:80"),
    *("https://me@api.hubapi.com", "https://me:pw@api.hubapi.com", "https://api.hubapi.com/x"),
    *("https://api.hubapi.com\\.evil.com", "https://api.hubapi.com\n.evil.com", "https://?x"),
    *("ws://localhost", "unix://localhost", "http+unix://localhost", "javascript:https://x"),
)


# shows a fault: http://[::1].evil.com passes where Python is not the newest; no request follows
@for_each("url", UNSAFE)
def test_base_url_that_could_lead_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="HUBSPOT_API_BASE_URL"):
        load_settings({"HUBSPOT_API_BASE_URL": url})


pieces = st.sampled_from(
    [
        *("http://", "https://", "HTTP://", "//", "/", ":", "@", "\\", "#", "?", "%", "[", "]"),
        *(
            "localhost",
            "127.0.0.1",
            "::1",
            "evil.com",
            ".",
            "80",
            "\t",
            "\n",
            " ",
            "\u3002",
            "\uff0f",
        ),
        *("%2f", "%40", "ﬁ", "①", "\u200b", "-", ";", "&", "\x00", "LOCALHOST"),
    ]
)


@settings(
    max_examples=40 * int(os.environ.get("STRANGERS_EXAMPLES", "6")),
    deadline=None,
    database=None,
    derandomize="STRANGERS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(
    st.sampled_from(["http://localhost", "http://127.0.0.1", "http://[::1]", "http://"]),
    st.lists(pieces, max_size=6).map("".join),
)
@example("http://localhost", ":80")
def test_base_url_without_encryption_is_loopback_for_whoever_reads_it(
    start: str, rest: str
) -> None:
    try:
        base_url = load_settings({"HUBSPOT_API_BASE_URL": start + rest}).base_url
    except SettingsError:
        return
    try:
        # requests asks urllib3, which may read an address otherwise than Python's own library.
        prepared = requests.Request("GET", f"{base_url}/crm/v3").prepare()
    except requests.exceptions.InvalidURL:
        return
    read = urllib3.util.parse_url(prepared.url or "")
    assert read.auth is None
    assert read.host in ("localhost", "127.0.0.1", "[::1]")
    assert (read.path or "").startswith("/crm/v3")


# The settings file


def settings_file(database_url: str, hubspot: Emulator, name: str, mode: int) -> Path:
    path = Path(name)
    path.write_text(
        f"DATABASE_URL={database_url}\nHUBSPOT_API_KEY={TOKEN}\nHUBSPOT_API_BASE_URL={hubspot.url}\n"
    )
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o444])
@on_sqlite
def test_settings_file_open_to_all_is_warned_about_once_and_the_run_goes_on(
    table: Contacts, database_url: str, hubspot: Emulator, mode: int
) -> None:
    key = table.add()
    settings_file(database_url, hubspot, ".env", mode)
    ended = Program().run("sync-queue", "--json")
    assert (ended.code, ended.document["counts"]["created"]) == (0, 1)
    assert ended.err.count(".env") == 2  # the file, and how to close it
    assert len(ended.err.splitlines()) == 1
    assert "chmod 600 .env" in ended.err
    assert TOKEN not in ended.out + ended.err
    assert table.state(key) == ("Complete", "Complete")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o660])
@on_sqlite
def test_settings_file_for_owner_and_group_is_not_warned_about(
    table: Contacts, database_url: str, hubspot: Emulator, mode: int
) -> None:
    settings_file(database_url, hubspot, ".env", mode)
    ended = Program().run("sync-queue")
    assert (ended.code, ended.out, ended.err) == (0, "Nothing is due.\n", "")


@on_sqlite
def test_settings_file_that_is_named_is_the_one_that_is_looked_at(
    table: Contacts, database_url: str, hubspot: Emulator
) -> None:
    settings_file(database_url, hubspot, ".env", 0o644)
    settings_file(database_url, hubspot, "own.env", 0o600)
    settings_file(database_url, hubspot, "all.env", 0o644)
    Path("link.env").symlink_to("all.env")
    assert Program().run("sync-queue", "--env-file", "own.env").err == ""
    assert "chmod 600 all.env" in Program().run("sync-queue", "--env-file", "all.env").err
    assert "can read link.env" in Program().run("sync-queue", "--env-file", "link.env").err
    assert exposed(Path("none.env")) is None
    assert exposed(Path()) is None


@pytest.mark.parametrize(
    "command",
    [["sync-queue", "--dry-run"], ["create-properties"], ["reset", "--all"], ["init-db"]],
)
@on_sqlite
def test_settings_file_open_to_all_is_warned_about_by_every_command(
    table: Contacts, database_url: str, hubspot: Emulator, command: list[str]
) -> None:
    settings_file(database_url, hubspot, ".env", 0o644)
    ended = Program().run(*command)
    assert ended.code == 0
    assert ended.err.count("chmod 600") == 1


# Reset


def on_a_terminal(program: Program, forked_script: Path, answer: bytes, *arguments: str) -> Ended:
    """Run a command with a terminal for its input, on which somebody has typed an answer."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [forked_script, *arguments],
            env={**os.environ, **program.environment},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            os.write(ours, answer)
            out, err = process.communicate(timeout=40)
    finally:
        os.close(ours)
        os.close(theirs)
    return Ended(process.returncode, out, err)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"n\n", id="no"),
        pytest.param(b"\n", id="nothing"),
        pytest.param(b"all of it\nno\n", id="something-else"),
        pytest.param(b"\x04", id="end-of-input"),
    ],
)
@on_sqlite
def test_reset_on_a_terminal_changes_nothing_without_a_yes(
    table: Contacts, program: Program, forked_script: Path, tmp_path: Path, answer: bytes
) -> None:
    table.add(hubspot_contact_id="9001")
    before = table.rows()
    ended = on_a_terminal(program, forked_script, answer, "reset", "--all")
    assert "Erase this from 1 contact?" in ended.err
    assert ended.code != 0
    assert table.rows() == before
    assert list(tmp_path.glob("*.jsonl")) == []


@on_sqlite
def test_reset_on_a_terminal_goes_ahead_after_a_yes(
    table: Contacts, program: Program, forked_script: Path, tmp_path: Path
) -> None:
    key = table.add(hubspot_contact_id="9001")
    ended = on_a_terminal(program, forked_script, b"y\n", "reset", "--all")
    assert ended.code == 0, ended.err
    assert table.state(key) == (None, None)
    (copy,) = tmp_path.glob("hubspot-reset-*.jsonl")
    assert json.loads(copy.read_text())["hubspot_contact_id"] == "9001"


@pytest.mark.parametrize(
    "arguments",
    [["--all"], ["--all", "--json"], ["--status", "Selected"], ["--all", "--backup", "x.jsonl"]],
)
@on_sqlite
def test_reset_without_a_terminal_needs_a_yes_in_the_command(
    table: Contacts, program: Program, tmp_path: Path, arguments: list[str]
) -> None:
    table.add(hubspot_contact_id="9001")
    before = table.rows()
    ended = program.run("reset", *arguments)
    assert ended.code == 2
    assert "--yes" in ended.err
    assert table.rows() == before
    assert list(tmp_path.glob("*.jsonl")) == []


# Files


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
@on_sqlite
def test_report_and_copy_are_for_their_owner_alone(
    table: Contacts, program: Program, mask: int
) -> None:
    table.add()
    with umask(mask):
        assert program.run("sync-queue", "--report", "report.jsonl").code == 0
        assert program.run("reset", "--all", "--yes", "--backup", "copy.jsonl").code == 0
        table.add("bob@example.com")
        assert program.run("reset", "--all", "--yes").code == 0
    files = list(Path().glob("*.jsonl"))
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@on_sqlite
def test_copy_never_replaces_a_file(table: Contacts, program: Program, tmp_path: Path) -> None:
    key = table.add(hubspot_contact_id="9001")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("precious", "link", "dangling", "."):
        ended = program.run("reset", "--all", "--yes", "--backup", name)
        assert ended.code == 2
        assert "Nothing was reset" in ended.err
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    assert table.row(key)["hubspot_contact_id"] == "9001"


# SQL

CONSTANTS = {"ANSWER_TIMEOUT_MS", "ROW_LOCK_TIMEOUT_MS"}
"""Numbers of the program's own that stand in a statement, where a parameter may not."""

TAKES_TEXT = {"text", "exec_driver_sql"}
TAKES_SQL = TAKES_TEXT | {"execute", "executemany", "executescript", "scalars", "scalar"}


def sql_calls(tree: ast.AST) -> list[ast.Call]:
    """Return the calls that are given a statement; `text` of an object is another thing."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    return [
        call
        for call in calls
        if _name_of(call.func) in TAKES_SQL - {"text"}
        or (isinstance(call.func, ast.Name) and call.func.id == "text")
    ]


def made_up_sql(tree: ast.AST) -> list[int]:
    """Return the lines on which a statement is put together from something that may vary."""
    return [call.lineno for call in sql_calls(tree) if _varies(call)]


def _name_of(function: ast.expr) -> str:
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))


def _varies(call: ast.Call) -> bool:
    statement = call.args[0]
    if _name_of(call.func) in TAKES_TEXT or isinstance(statement, ast.JoinedStr):
        return not _is_fixed(statement)
    if isinstance(statement, ast.Call):
        return _name_of(statement.func) in {"format", "join", "replace"}
    return isinstance(statement, ast.BinOp)


def _is_fixed(statement: ast.expr) -> bool:
    if isinstance(statement, ast.IfExp):
        return _is_fixed(statement.body) and _is_fixed(statement.orelse)
    if isinstance(statement, ast.JoinedStr):
        put_in = [part.value for part in statement.values if isinstance(part, ast.FormattedValue)]
        return all(isinstance(each, ast.Name) and each.id in CONSTANTS for each in put_in)
    return isinstance(statement, ast.Constant)


def test_statements_take_values_as_bound_parameters_alone() -> None:
    found = []
    calls = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{path.name}:{line}" for line in made_up_sql(tree)]
        calls += len(sql_calls(tree))
    assert calls > 15
    assert found == []


def test_numbers_in_statements_are_numbers_of_the_program() -> None:
    from hubspot_sync.store import settling, shared_rows

    assert isinstance(shared_rows.ANSWER_TIMEOUT_MS, int)
    assert isinstance(settling.ROW_LOCK_TIMEOUT_MS, int)
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"literal_column\(|literal_binds|\bTextClause\b", text), path


@for_each(
    "line",
    [
        'connection.execute(text(f"SELECT {name}"))',
        'connection.exec_driver_sql("SELECT %s" % name)',
        'connection.exec_driver_sql("SELECT " + name)',
        'connection.execute("SELECT {}".format(name))',
        'text(" ".join(parts))',
        "connection.exec_driver_sql(statement)",
    ],
)
def test_the_look_at_the_statements_finds_what_it_looks_for(line: str) -> None:
    assert made_up_sql(ast.parse(line)) == [1]
