"""How we connect, what the table is, and what a failure of the database means to an operator."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    create_engine,
    event,
    inspect,
    literal,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import QueuePool
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeEngine

from hubspot_sync.errors import DatabaseUnavailable, HubSpotSyncError, WrongUsage

TABLE = "contacts"
CONNECT_TIMEOUT_SECONDS = 10
SQLITE_BUSY_SECONDS = 5.0


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware and UTC in Python, whatever the column keeps.

    The app's `updated_at` has no time zone and PostgreSQL's own do; SQLite drops zones. Naive
    values that come back are UTC, since every transaction runs in that zone.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the instant as the column takes it."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant must have a time zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Return the instant aware and in UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Key(TypeDecorator[UUID]):
    """A UUID: PostgreSQL's own type, and on SQLite the text with dashes that people write."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that this database has for it."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(36))
        return dialect.type_descriptor(Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> UUID | str | None:
        """Return the key as the column takes it."""
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: UUID | str | None, _: Dialect) -> UUID | None:
        """Return the key as a UUID."""
        return UUID(value) if isinstance(value, str) else value


class DatabaseTime(FunctionElement[datetime]):
    """The database's own clock; the only clock that decides what is due."""

    type = UtcDateTime()
    inherit_cache = True
    name = "database_time"


class DatabaseTimeBefore(FunctionElement[datetime]):
    """The database's own clock, set back by some seconds, or forward by less than none."""

    type = UtcDateTime()
    inherit_cache = True
    name = "database_time_before"

    def __init__(self, seconds: float) -> None:
        super().__init__(literal(seconds, Float))


class MomentAfter(FunctionElement[datetime]):
    """Some seconds after the instant that a column holds."""

    type = UtcDateTime()
    inherit_cache = True
    name = "moment_after"

    def __init__(self, moment: ColumnElement[datetime], seconds: float) -> None:
        super().__init__(moment, literal(seconds, Float))


class NewKey(FunctionElement[UUID]):
    """A random UUID, made by the database for rows that people insert by hand."""

    type = Key()
    inherit_cache = True
    name = "new_key"


@compiles(DatabaseTime, "postgresql")
def _postgresql_time(_element: DatabaseTime, _compiler: SQLCompiler, **_: object) -> str:
    return "now()"


@compiles(DatabaseTime, "sqlite")
def _sqlite_time(_element: DatabaseTime, _compiler: SQLCompiler, **_: object) -> str:
    # Six digits, as SQLAlchemy writes them: SQLite compares instants as text.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(DatabaseTimeBefore, "postgresql")
def _postgresql_before(element: DatabaseTimeBefore, compiler: SQLCompiler, **_: object) -> str:
    return f"(now() - make_interval(secs => {compiler.process(element.clauses)}))"


@compiles(DatabaseTimeBefore, "sqlite")
def _sqlite_before(element: DatabaseTimeBefore, compiler: SQLCompiler, **_: object) -> str:
    seconds = compiler.process(element.clauses)
    # With its sign written out, for a moment to come is some seconds before, less than none.
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('%+f seconds', -{seconds}))"


@compiles(MomentAfter, "postgresql")
def _postgresql_after(element: MomentAfter, compiler: SQLCompiler, **_: object) -> str:
    moment, seconds = (compiler.process(each) for each in element.clauses)
    return f"({moment} + make_interval(secs => {seconds}))"


@compiles(MomentAfter, "sqlite")
def _sqlite_after(element: MomentAfter, compiler: SQLCompiler, **_: object) -> str:
    moment, seconds = (compiler.process(each) for each in element.clauses)
    return f"strftime('%Y-%m-%d %H:%M:%f000', {moment}, printf('%+f seconds', {seconds}))"


@compiles(NewKey, "postgresql")
def _postgresql_key(_element: NewKey, _compiler: SQLCompiler, **_: object) -> str:
    return "gen_random_uuid()"


@compiles(NewKey, "sqlite")
def _sqlite_key(_element: NewKey, _compiler: SQLCompiler, **_: object) -> str:
    digits = (
        "hex(randomblob(4)), hex(randomblob(2)), '4' || substr(hex(randomblob(2)), 2), "
        "'a' || substr(hex(randomblob(2)), 2), hex(randomblob(6))"
    )
    return f"lower(printf('%s-%s-%s-%s-%s', {digits}))"


metadata = MetaData()

contacts = Table(
    TABLE,
    metadata,
    # Plain strings for statuses: they work on string columns and, since literals have no type
    # yet when PostgreSQL reads them, on the app's enum columns too.
    Column("id", Key, primary_key=True, server_default=NewKey()),
    Column("domain_id", String(36)),
    Column("page_id", String(36)),
    Column("email", String),
    Column("name", String),
    Column("phone_number", String),
    Column("hubspot_sync_status", String),
    Column("hubspot_processing_status", String),
    Column("hubspot_processing_error", Text),
    Column("hubspot_contact_id", String),
    Column("retry_count", Integer, nullable=False, server_default=text("0")),
    Column("next_retry_at", UtcDateTime),
    Column("last_retry_at", UtcDateTime),
    Column("last_failed_crm", String),
    Column("created_at", UtcDateTime, nullable=False, server_default=DatabaseTime()),
    Column("updated_at", UtcDateTime, nullable=False, server_default=DatabaseTime()),
)


def make_engine(url: str, *, create: bool = False, pool_size: int = 2) -> Engine:
    """Return an engine whose transactions are safe for a queue.

    Args:
        url: with the driver named, as the settings give it.
        create: make the SQLite file if there is none; otherwise a missing file is an error.
        pool_size: connections at most.

    Raises:
        WrongUsage: the address is none.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Without its cause, whose words hold the password.
        raise WrongUsage(
            "DATABASE_URL is not an address: what follows the host's colon must be a number, and "
            "an IPv6 address stands in square brackets."
        ) from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed.database, create=create, pool_size=pool_size)
    engine = create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        # Nothing of ours is hstore, and asking for it costs a query at every connection.
        use_native_hstore=False,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            # Contacts are scraped from the whole world; the server's locale does not matter.
            "client_encoding": "utf8",
            "application_name": parsed.query.get("application_name", "hubspot-sync"),
        },
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The app's updated_at has no zone: in any other session zone a lease would end early or
        # late. SET LOCAL, for behind a transaction pooler nothing outlives the transaction.
        connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
        if connection.get_execution_options().get("read_only"):
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    return engine


class UnusableFile(sqlite3.OperationalError):
    """An SQLite file that this user cannot open or make, and why."""


def _sqlite_engine(path: str | None, *, create: bool, pool_size: int) -> Engine:
    # Without mode=rw, SQLite would leave an empty file behind wherever it finds none.
    mode = "rwc" if create else "rw"

    def connect() -> sqlite3.Connection:
        if create and path:
            _make_for_this_user_alone(Path(path))
        try:
            connection = sqlite3.connect(
                f"file:{quote(path or '')}?mode={mode}",
                uri=True,
                timeout=SQLITE_BUSY_SECONDS,
                check_same_thread=False,
                # With the driver's own transactions, an UPDATE can escape a rollback; so we begin
                # them ourselves.
                isolation_level=None,
            )
        except sqlite3.OperationalError as error:
            why = _why_unopened(Path(path or ""), create=create)
            if why is None:
                raise
            raise UnusableFile(why) from error
        # SQLite holds what it is given; one text that is no UTF-8 must not bar all the others.
        connection.text_factory = lambda found: found.decode("utf-8", "replace")
        return connection

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=pool_size, max_overflow=0
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # At once, for a claim reads before it writes.
        is_reader = connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")

    return engine


def _make_for_this_user_alone(path: Path) -> None:
    """Make the file that SQLite would make open to all, for it holds people's addresses.

    What SQLite keeps beside it takes its mode. Why it cannot be made, opening it will tell.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


def _why_unopened(path: Path, *, create: bool) -> str | None:
    """Return why SQLite cannot open a file; None where it is just not there."""
    try:
        folder = path.parent.absolute()
    except FileNotFoundError:
        return "the current folder is gone"
    try:
        folder.stat()
        path.stat()
    except PermissionError:
        return f"this user may not enter {folder}"
    except OSError:
        if not folder.is_dir():
            return f"there is no folder {folder}"
        return f"this user may not write in {folder}" if create else None
    if path.is_dir():
        return f"{path} is a folder"
    return f"this user may not read and write {path}"


@contextmanager
def transaction(engine: Engine, *, read_only: bool = False) -> Iterator[Connection]:
    """Run one transaction, and turn its failure into an error that says what to do.

    Raises:
        WrongUsage: the table or a column is missing.
        DatabaseUnavailable: anything else that the database refuses.
    """
    try:
        with engine.execution_options(read_only=read_only).begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise explain(error) from error


def explain(error: SQLAlchemyError) -> HubSpotSyncError:
    """Return the error of ours that a database error amounts to."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    words = _first_line(str(cause or error))
    code = getattr(cause, "pgcode", None)
    if code == "42P01" or "no such table" in words or _is_missing_file(error):
        return WrongUsage(
            f"There is no table '{TABLE}' in the database. Point DATABASE_URL at the app's "
            "database, or run 'hubspot-sync init-db' to make the table in it."
        )
    if code == "42703" or "no such column" in words:
        return WrongUsage(
            f"The table '{TABLE}' lacks a column that the sync needs ({words}). Point DATABASE_URL "
            "at the app's database, or add the column."
        )
    if code == "42501" or code == "25006" or "readonly database" in words:
        return DatabaseUnavailable(
            f"The database does not let this user write ({words}). The user in DATABASE_URL needs "
            f"SELECT and UPDATE on '{TABLE}', on the primary server; an SQLite file and its folder "
            "must be this user's to write, and not be replaced while a run is at work."
        )
    if re.search("too many (connections|clients)|connection slots|connection limit", words):
        return DatabaseUnavailable(
            f"The database has no connection left ({words}). Raise its limit, or lower "
            "HUBSPOT_SYNC_WORKERS: a run needs two more than that; the contacts are safe."
        )
    if code == "57014":
        return DatabaseUnavailable(
            f"The database ended a query that took too long ({words}). Run 'hubspot-sync init-db "
            "--indexes', or raise the user's statement_timeout; the contacts are safe."
        )
    if code == "53100" or "disk is full" in words:
        return DatabaseUnavailable(
            f"The database has no room left ({words}). Free space on its disk; what was not "
            "settled is taken over when its lease ends."
        )
    return _explain_file(cause, words) or DatabaseUnavailable(
        f"The database cannot be used now: {words}. Check DATABASE_URL, the server, and the "
        "network between; what was not settled is taken over when its lease ends."
    )


def _explain_file(cause: object, words: str) -> DatabaseUnavailable | None:
    """Return the error that only a file can have; None where it has another."""
    if isinstance(cause, UnusableFile):
        return DatabaseUnavailable(
            f"The file of DATABASE_URL cannot be used: {words}. Correct it, or run as the user who "
            "owns it; a good place is a folder of the program's own user, such as "
            "sqlite:////var/lib/hubspot-sync/contacts.db."
        )
    if "database is locked" in words:
        return DatabaseUnavailable(
            f"Another program has kept the database locked for {SQLITE_BUSY_SECONDS:g} seconds. "
            "Find out which one holds a transaction open; what was not settled is taken over when "
            "its lease ends."
        )
    return None


def is_lock_timeout(error: SQLAlchemyError) -> bool:
    """Tell whether another session kept a row locked for longer than we wait."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) == "55P03"


def _first_line(words: str) -> str:
    # The driver's first line names the fault; the password is in none of its messages, the
    # address may be, and what is left of a URL with one is taken out all the same.
    line = words.strip().splitlines()[0] if words.strip() else "no reason given"
    return re.sub(r"://[^@\s]*@", "://…@", line).rstrip(".")


def has_table(engine: Engine) -> bool:
    """Tell whether the database has a contacts table."""
    try:
        return inspect(engine).has_table(TABLE)
    except OperationalError as error:
        if _is_missing_file(error):
            return False
        raise explain(error) from error


def create_table(engine: Engine) -> bool:
    """Make the contacts table for embedded use; return False where there is one already."""
    if has_table(engine):
        return False
    with transaction(engine) as connection:
        connection.execute(CreateTable(contacts, if_not_exists=True))
    return True


def _is_missing_file(error: SQLAlchemyError) -> bool:
    return isinstance(error, OperationalError) and "unable to open database file" in str(error.orig)
