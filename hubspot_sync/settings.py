"""The settings, read once and checked as a whole.

To add a setting, start at `Settings` and `load_settings`; `.env.example` and the README list every
setting, and a test holds them to it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import SettingsError, WrongUsage
from hubspot_sync.rules.mail import Mail
from hubspot_sync.rules.mapping import (
    STANDARD_PROPERTIES,
    PropertyMapping,
    PropertyNames,
    built_in_mapping,
)
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.source import BUILT_IN_SOURCE, Source
from hubspot_sync.sentences import Message

if TYPE_CHECKING:
    from hubspot_sync.config.mapping_file import MappingFile

DEFAULT_DATABASE_URL = "sqlite:///contacts.db"
DEFAULT_BASE_URL = "https://api.hubapi.com"

LEASE_TIMEOUTS = 12
"""The requests that one contact's delivery can need at its worst, all of them timing out."""
LEASE_SLACK = timedelta(minutes=2)
"""What the waits between those requests, and the settling, need besides."""

MOST_EDITS = 2
"""How far a name in the settings file may be from a setting's, and still be meant as that one."""

A_TOKEN = "a token"  # noqa: S105 - a word
"""What a message shows in place of a token."""

_NO_FILE: Mapping[str, str] = MappingProxyType({})
_OWN_PREFIXES = ("HUBSPOT_SYNC_", "HUBSPOT_CUSTOM_PROPERTY_")
_ALIKE, _STRANGERS_ALIKE = 0.8, 0.85
_SHOWN_NAME = re.compile(r"\w{0,60}", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(:\d*)?")
_HOST = r"[\w-]{1,63}(\.[\w-]{1,63})*\.?"
_HEARTBEAT_URL = re.compile(rf"https?://{_HOST}(:\d+)?(/[\w./~%+-]*)?", re.ASCII)
_PING_KIND = re.compile(r"/(start|fail|log|\d{1,3})")
_PROPERTY_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_API_VERSION = re.compile(r"v3|20\d\d-(0[1-9]|1[0-2])")
_SYNC_NAME = re.compile(r"\w[\w .-]{0,39}")
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")
_PROPERTY_SETTINGS = tuple(
    f"HUBSPOT_CUSTOM_PROPERTY_{role}" for role in ("DOMAIN_ID", "PAGE_ID", "SYNC_DATE")
)
_LEASE_SETTINGS = {"HUBSPOT_SYNC_LEASE_MINUTES", "HUBSPOT_TIMEOUT_SECONDS"}
_DIALECTS = {
    # psycopg2 is named, or SQLAlchemy might look for another driver; hosting services hand out
    # both of the first two forms.
    "postgres": "postgresql+psycopg2",
    "postgresql": "postgresql+psycopg2",
    "postgresql+psycopg2": "postgresql+psycopg2",
    "sqlite": "sqlite",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, checked.

    Attributes:
        api_key: private app token or service key; empty where the sync is switched off.
        portal_id: None where any portal will do.
        base_url: without a slash at its end.
        api_version: `v3`, or a dated version such as `2026-09`.
        request_timeout: the whole time that one request may take, its answer included.
        database_url: with the driver named.
        workers: batches that a drain has in flight at once.
        interval: how often cron runs `sync-queue`.
        lease: how long a claim holds before another run may take it over.
        quota_reserve: per cent of the portal's daily requests left to its other apps.
        mail: what a run says on standard error.
        heartbeat_url: where a monitor is told of runs; None where there is none.
        metrics_file: the file of metrics; None where none is wanted.
        property_names: what the built-in mapping's custom properties are called.
        mapping_file: what the mapping file says; None where the built-in mapping holds.
        sync_name: what this sync is called wherever it is spoken of; empty for no name.
    """

    api_key: str = field(default="", repr=False)
    api_key_source: str = field(default="HUBSPOT_API_KEY", compare=False)
    portal_id: str | None = None
    base_url: str = DEFAULT_BASE_URL
    api_version: str = "v3"
    request_timeout: timedelta = timedelta(seconds=30)
    database_url: str = field(default=DEFAULT_DATABASE_URL, repr=False)
    interval: timedelta = timedelta(minutes=5)
    batch_size: int = 10
    max_instances: int = 1
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    lease: timedelta = timedelta(minutes=10)
    workers: int = 4
    quota_reserve: int = 5
    mail: Mail = Mail.STOPS
    heartbeat_url: str | None = field(default=None, repr=False)
    metrics_file: Path | None = None
    sync_name: str = ""
    property_names: PropertyNames = field(default_factory=PropertyNames)
    mapping_file: "MappingFile | None" = None

    @property
    def mapping(self) -> PropertyMapping:
        """How contacts become HubSpot's records."""
        if self.mapping_file is not None:
            return self.mapping_file.mapping
        return built_in_mapping(self.property_names)

    @property
    def source(self) -> Source:
        """The table that contacts come from."""
        return BUILT_IN_SOURCE if self.mapping_file is None else self.mapping_file.source

    def require_api_key(self) -> None:
        """Raise WrongUsage where a command needs HubSpot and there is no token."""
        if self.api_key:
            return
        if self.api_key_source != "HUBSPOT_API_KEY":
            raise WrongUsage(ErrorCode.API_KEY_FILE_EMPTY, setting=self.api_key_source)
        raise WrongUsage(ErrorCode.API_KEY_EMPTY)


@dataclass(frozen=True, slots=True)
class UnknownName:
    """A variable that looks like a setting and is not one.

    Attributes:
        name: as a message may show it: cut where it has what no name has, for a token may be glued
            to it.
        place: where it stands, in words.
        meant: the setting that it may mean; None where none is near.
        is_fault: whether it is certainly meant for us, so that nothing may run without it.
    """

    name: str
    place: str
    meant: str | None
    is_fault: bool

    @property
    def message(self) -> Message:
        """What is said of it."""
        code = ErrorCode.SETTING_IGNORED
        if self.is_fault:
            code = ErrorCode.SETTING_MISSPELT if self.meant else ErrorCode.SETTING_UNKNOWN
        return Message(code, name=self.name, place=self.place, meant=self.meant)


def are_there(names: Iterable[str]) -> bool:
    """Tell whether any setting is set, be it to nothing."""
    return not known_names().isdisjoint(names)


def load_settings(
    environment: Mapping[str, str], in_file: Mapping[str, str] = _NO_FILE
) -> Settings:
    """Check all settings together, and the names of those that are misspelt.

    Args:
        environment: usually `os.environ`; its values win.
        in_file: what the settings file holds.

    Raises:
        SettingsError: with one sentence for each setting that is wrong.
    """
    unknown = unknown_names(environment, in_file)
    faults = [each.message for each in unknown if each.is_fault]
    settings, wrong_values = read_values({**in_file, **environment})
    if faults or wrong_values:
        raise SettingsError(faults + wrong_values)
    return settings


def read_values(variables: Mapping[str, str]) -> tuple[Settings, list[Message]]:
    """Return the settings, and a sentence for each value that is wrong.

    In place of a value that is wrong the settings have its default.
    """
    read = _Reader(variables)
    settings = _read(read)
    return settings, read.faults + _faults_between(settings, read.faulty)


def known_names() -> set[str]:
    """Return the names of all settings."""
    reader = _Reader({})
    _read(reader)
    return reader.known


def unknown_names(
    environment: Mapping[str, str], in_file: Mapping[str, str] = _NO_FILE
) -> list[UnknownName]:
    """Return the variables that look like a setting and are not one.

    A fault is whatever has a prefix that is ours alone; in the settings file, what is at most two
    edits from a setting; in the environment, which other programs share, what is a setting but for
    its underscores and capitals, while that setting is not set. All other HUBSPOT_… names, and
    what is all but a setting's name, may be another program's.
    """
    known = known_names()
    values = {**in_file, **environment}
    unset = {name for name in known if not values.get(name, "").strip()}
    found = []
    for name in sorted(values.keys() - known):
        upper, is_in_file = name.upper(), name in in_file
        slip = _without_underscores(upper, known if is_in_file else unset)
        if slip is None and is_in_file:
            slip = _within_edits(upper, known)
        is_fault = slip is not None or upper.startswith(_OWN_PREFIXES)
        meant = slip or _nearest(upper, known)
        if is_fault or meant or upper.startswith("HUBSPOT_"):
            place = "settings file" if is_in_file else "environment"
            found.append(UnknownName(_shown_name(name), place, meant, is_fault))
    return found


def _shown_name(name: str) -> str:
    shown = _SHOWN_NAME.match(name)
    return name if shown is None or shown[0] == name else f"{shown[0]}…"


def _without_underscores(name: str, known: Iterable[str]) -> str | None:
    bare = name.replace("_", "")
    return next((each for each in known if each.replace("_", "") == bare), None)


def _within_edits(name: str, known: Iterable[str]) -> str | None:
    """Return the setting that is the fewest edits away, two at most."""
    in_order = sorted(known)
    steps = ((each, edits) for edits in range(MOST_EDITS + 1) for each in in_order)
    return next((each for each, edits in steps if is_within_edits(name, each, edits)), None)


def _nearest(name: str, known: Collection[str]) -> str | None:
    """Return the setting that a name is most like, if it is like any."""
    is_ours = name.startswith("HUBSPOT_")
    near = get_close_matches(name, known, n=1, cutoff=_ALIKE if is_ours else _STRANGERS_ALIKE)
    # PG_DATABASE_URL and the like are names of their own, and no slips.
    return near[0] if near and (is_ours or near[0] not in name) else None


def is_within_edits(one: str, other: str, most: int) -> bool:
    """Tell whether so many edits make one name of the other.

    An edit is a letter that is missing, one too many, another one, or two that changed places.
    """
    if abs(len(one) - len(other)) > most:
        return False
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if same is None:
        # One is the beginning of the other, and the rest is short enough.
        return True
    one, other, left = one[same:], other[same:], most - 1
    return most > 0 and (
        is_within_edits(one[1:], other, left)
        or is_within_edits(one, other[1:], left)
        or is_within_edits(one[1:], other[1:], left)
        or (one[:2] == other[1::-1] and is_within_edits(one[2:], other[2:], left))
    )


def _read(read: "_Reader") -> Settings:
    return Settings(
        api_key=read.token("HUBSPOT_API_KEY"),
        api_key_source=read.token_source,
        portal_id=read.text("HUBSPOT_PORTAL_ID", "", _portal_id) or None,
        base_url=read.text("HUBSPOT_API_BASE_URL", DEFAULT_BASE_URL, _base_url),
        api_version=read.text("HUBSPOT_API_VERSION", "v3", _api_version),
        request_timeout=timedelta(seconds=read.number("HUBSPOT_TIMEOUT_SECONDS", 30, 1, 300)),
        database_url=read.database_url("DATABASE_URL", DEFAULT_DATABASE_URL),
        interval=timedelta(
            minutes=read.number("HUBSPOT_SYNC_SCHEDULER_INTERVAL_MINUTES", 5, 1, 1440)
        ),
        batch_size=read.number("HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE", 10, 1, 10_000),
        max_instances=read.number("HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES", 1, 1, 100),
        retry_policy=RetryPolicy(
            max_retries=read.number("HUBSPOT_SYNC_MAX_RETRIES", 3, 0, 20),
            base_delay=timedelta(
                minutes=read.number("HUBSPOT_SYNC_RETRY_DELAY_MINUTES", 5, 1, 1440)
            ),
            exponential=read.boolean("HUBSPOT_SYNC_RETRY_EXPONENTIAL", default=True),
        ),
        lease=timedelta(minutes=read.number("HUBSPOT_SYNC_LEASE_MINUTES", 10, 1, 1440)),
        workers=read.number("HUBSPOT_SYNC_WORKERS", 4, 1, 32),
        quota_reserve=read.number("HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT", 5, 0, 90),
        mail=read.mail("HUBSPOT_SYNC_MAIL"),
        heartbeat_url=read.heartbeat_url("HUBSPOT_SYNC_HEARTBEAT_URL"),
        metrics_file=read.metrics_file("HUBSPOT_SYNC_METRICS_FILE"),
        sync_name=read.text("HUBSPOT_SYNC_NAME", "", _sync_name),
        property_names=PropertyNames(
            domain_id=read.property_name("DOMAIN_ID", "scrapersky_domain_id"),
            page_id=read.property_name("PAGE_ID", "scrapersky_page_id"),
            sync_date=read.property_name("SYNC_DATE", "scrapersky_sync_date"),
        ),
        mapping_file=read.mapping_file("HUBSPOT_SYNC_MAPPING"),
    )


def _faults_between(settings: Settings, faulty: set[str]) -> list[Message]:
    """Return the faults of values that are good alone, but not together."""
    faults = []
    needed = LEASE_TIMEOUTS * settings.request_timeout + LEASE_SLACK
    if settings.lease < needed and not faulty & _LEASE_SETTINGS:
        faults.append(
            Message(
                ErrorCode.LEASE_TOO_SHORT,
                minutes=settings.lease // timedelta(minutes=1),
                seconds=settings.request_timeout.total_seconds(),
                least=-(-needed // timedelta(minutes=1)),
            )
        )
    names = settings.property_names
    if len({names.domain_id, names.page_id, names.sync_date}) < 3:
        faults.append(Message(ErrorCode.PROPERTY_NAMES_EQUAL, **asdict(names)))
    return faults


class _Reader:
    """Reads variables one by one and keeps what is wrong with them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._token = variables.get("HUBSPOT_API_KEY", "").strip()
        self.token_source = "HUBSPOT_API_KEY"  # noqa: S105 - a name
        self.faults: list[Message] = []
        self.faulty: set[str] = set()
        self.known: set[str] = set()

    def text(
        self, name: str, default: str, check: Callable[[str], str | None], **bounds: int
    ) -> str:
        """Return the checked value; `check` gives its clean form, or None where it is wrong."""
        raw = self._raw(name) or default
        value = check(raw)
        if value is None:
            self._blame(ErrorCode.SETTING_WRONG, name, value=self._shown(raw), **bounds)
            self.faulty.add(name)
            return default
        return value

    def _blame(self, code: ErrorCode, setting: str, **data: object) -> None:
        self.faults.append(Message(code, setting=setting, **data))

    def _raw(self, name: str) -> str:
        self.known.add(name)
        return self._variables.get(name, "").strip()

    def _shown(self, raw: str) -> str:
        """Return a value as a message may show it: a secret in the wrong line stays one."""
        if "pat-" in raw or (self._token and self._token in raw):
            return A_TOKEN
        return repr(raw.rpartition("@")[2] if "@" in raw else raw)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        def check(raw: str) -> str | None:
            is_number = raw.isascii() and raw.isdigit() and len(raw) <= len(str(most))
            return raw if is_number and least <= int(raw) <= most else None

        return int(self.text(name, str(default), check, least=least, most=most))

    def boolean(self, name: str, *, default: bool) -> bool:
        def check(raw: str) -> str | None:
            return raw.lower() if raw.lower() in _TRUE + _FALSE else None

        return self.text(name, str(default).lower(), check) in _TRUE

    def mail(self, name: str) -> Mail:
        def check(raw: str) -> str | None:
            return raw.lower() if raw.lower() in set(Mail) else None

        return Mail(self.text(name, Mail.STOPS, check))

    def token(self, name: str) -> str:
        value = self._raw(name)
        file = self._raw(f"{name}_FILE")
        if file:
            self._token = self._token or value
            value = self._token_in(file, name, value)
            self.token_source = name = f"{name}_FILE"
            self._token = self._token or value
        if not re.fullmatch(r"[\x21-\x7e]*", value):
            # Its value is not shown: it is a secret even where it is mistyped.
            self._blame(ErrorCode.API_KEY_MALFORMED, name)
        return value

    def _token_in(self, file: str, name: str, beside: str) -> str:
        if beside:
            self._blame(ErrorCode.API_KEY_SET_TWICE, name)
            return ""
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            self._blame(
                ErrorCode.API_KEY_FILE_UNREADABLE, f"{name}_FILE", value=self._shown(file), why=why
            )
            return ""

    def database_url(self, name: str, default: str) -> str:
        raw = self._raw(name) or default
        scheme, found, rest = raw.partition("://")
        dialect = _DIALECTS.get(scheme.lower())
        # SQLite without a path is a database in memory, which forgets the contacts at once.
        if not found or dialect is None or not rest.strip("/") or ":memory:" in rest:
            # Its value is not shown: it holds a password.
            is_scheme = found and re.fullmatch(r"[a-z][a-z0-9+.-]{0,30}", scheme)
            if is_scheme:
                self._blame(ErrorCode.DATABASE_URL_UNSUPPORTED, name, scheme=repr(scheme))
            else:
                self._blame(ErrorCode.DATABASE_URL_NO_ADDRESS, name)
            return default
        if rest.partition("?")[0].count("@") > 1:
            # What follows the first one would count as the host, and be shown as such.
            self._blame(ErrorCode.DATABASE_URL_AMBIGUOUS, name)
            return default
        return f"{dialect}://{rest}"

    def heartbeat_url(self, name: str) -> str | None:
        raw = self._raw(name)
        is_url = _HEARTBEAT_URL.fullmatch(raw) is not None
        # Its value is not shown: whoever has it can ping in our name.
        if raw and not is_url:
            self._blame(ErrorCode.HEARTBEAT_URL_MALFORMED, name)
        url = raw.rstrip("/")
        kind = url[url.rfind("/") :]
        if is_url and _PING_KIND.fullmatch(kind):
            # With it every ping, the end's too, would be of that kind, and no monitor would ring.
            self._blame(ErrorCode.HEARTBEAT_URL_ENDS_IN_KIND, name, kind=kind)
        return url or None

    def metrics_file(self, name: str) -> Path | None:
        def check(raw: str) -> str | None:
            return raw if not raw or (raw.endswith(".prom") and Path(raw).is_absolute()) else None

        raw = self.text(name, "", check)
        return Path(raw) if raw else None

    def mapping_file(self, name: str) -> "MappingFile | None":
        raw = self._raw(name)
        if not raw:
            return None
        if self._shown(raw) == A_TOKEN or "://" in raw:
            # What stands in the wrong line may be a secret, and no file is looked for by it.
            self._blame(ErrorCode.SETTING_WRONG, name, value=self._shown(raw))
            return None
        # Only where there is a file: cron starts this program every few minutes.
        from hubspot_sync.config.mapping_file import load_mapping

        renamed = [each for each in _PROPERTY_SETTINGS if self._raw(each)]
        try:
            return load_mapping(Path(raw), property_settings=renamed)
        except SettingsError as wrong:
            self.faults += wrong.faults
            return None

    def property_name(self, role: str, default: str) -> str:
        return self.text(
            f"HUBSPOT_CUSTOM_PROPERTY_{role}",
            default,
            lambda raw: (
                raw if _PROPERTY_NAME.fullmatch(raw) and raw not in STANDARD_PROPERTIES else None
            ),
        )


def _portal_id(raw: str) -> str | None:
    return raw if not raw or (raw.isascii() and raw.isdigit()) else None


def _api_version(raw: str) -> str | None:
    return raw if _API_VERSION.fullmatch(raw) else None


def _sync_name(raw: str) -> str | None:
    return raw if not raw or _SYNC_NAME.fullmatch(raw) else None


def _base_url(raw: str) -> str | None:
    if re.search(r"[\s@?#\\]", raw):
        return None
    try:
        parts = urlsplit(raw)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return None
    if not _HOST_AND_PORT.fullmatch(parts.netloc):
        return None
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    is_plain = not parts.path.strip("/")
    return raw.rstrip("/") if host and is_safe and is_plain else None
