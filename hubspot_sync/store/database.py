"""How we connect, and how a transaction begins and ends."""

import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Contended, HubSpotSyncError, QueryTimedOut, WrongUsage
from hubspot_sync.sentences import Message
from hubspot_sync.store.failures import (
    SQLITE_BUSY_SECONDS,
    UnusableFile,
    explain,
    why_not_asked,
)
from hubspot_sync.store.relation import is_locked, no_table

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 10

TRANSACTION_TRIES = 5
"""How often a transaction is begun that others get in the way of."""

SHORTEST_PAUSE_SECONDS = 0.05
"""Between the first two tries; it doubles each time."""

_TABLE = "hubspot_sync_table"
"""The execution option that carries the table's name."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def make_engine(
    url: str, *, table: str = "contacts", create: bool = False, pool_size: int = 2
) -> Engine:
    """Return an engine whose transactions are safe for a queue.

    Args:
        url: with the driver named, as the settings give it.
        table: the source's table, which messages about failures name.
        create: make the SQLite file if there is none; otherwise a missing file is an error.
        pool_size: connections at most.

    Raises:
        WrongUsage: the address is none.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Without its cause, whose words hold the password.
        raise WrongUsage(ErrorCode.DATABASE_URL_MALFORMED) from None
    if parsed.get_backend_name() == "sqlite":
        engine = _sqlite_engine(parsed.database, create=create, pool_size=pool_size)
        return engine.execution_options(**{_TABLE: table})
    engine = create_engine(
        parsed,
        execution_options={_TABLE: table},
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        # Whatever the database's default: a claim that skips locked rows and reads afresh would
        # fail under a stricter level. The driver asks for it with each BEGIN, so a pooler that
        # lends sessions for a transaction does not get it wrong.
        isolation_level="READ COMMITTED",
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


def table_of(engine: Engine) -> str:
    """Return the name of the source's table, for messages."""
    name: str = engine.get_execution_options().get(_TABLE, "contacts")
    return name


def about_table(engine: Engine, table: str) -> Engine:
    """Return the same connections, for statements about another table than the source's."""
    return engine.execution_options(**{_TABLE: table})


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


def _why_unopened(path: Path, *, create: bool) -> Message | None:
    """Return why SQLite cannot open a file; None where it is just not there."""
    try:
        folder = path.parent.absolute()
    except FileNotFoundError:
        return Message(ErrorCode.FOLDER_GONE)
    try:
        folder.stat()
        path.stat()
    except PermissionError:
        return Message(ErrorCode.FOLDER_NOT_ENTERED, path=folder)
    except OSError:
        if not folder.is_dir():
            return Message(ErrorCode.FOLDER_MISSING, path=folder)
        return Message(ErrorCode.FOLDER_NOT_WRITABLE, path=folder) if create else None
    if path.is_dir():
        return Message(ErrorCode.FILE_IS_FOLDER, path=path)
    return Message(ErrorCode.FILE_NOT_ACCESSIBLE, path=path)


@contextmanager
def transaction(
    engine: Engine, *, read_only: bool = False, singly: bool = False
) -> Iterator[Connection]:
    """Run one transaction, and turn its failure into an error that says what to do.

    Args:
        engine: from `make_engine`.
        read_only: let nothing be written.
        singly: rows are written one by one, each of which the database may refuse: so it checks
            its deferred constraints at once, and not at the end for all.

    Raises:
        WrongUsage: the table or a column is missing, or a value fits no column.
        Contended: another transaction got in the way.
        DatabaseUnavailable: anything else that the database refuses.
    """
    try:
        with engine.execution_options(read_only=read_only).begin() as connection:
            if singly and engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
            yield connection
    except SQLAlchemyError as error:
        if read_only and (why := why_not_asked(error)):
            raise WrongUsage(
                ErrorCode.CONTACT_ID_MALFORMED, words=why, table=table_of(engine)
            ) from error
        raise _explain(engine, error) from error


def _quoted(engine: Engine, table: str) -> str:
    quote = engine.dialect.identifier_preparer.quote
    return ".".join(map(quote, table.split(".")))


def _explain(engine: Engine, error: SQLAlchemyError) -> HubSpotSyncError:
    """Return the error of ours, after a look at what the database's own words leave open."""
    table = table_of(engine)
    told = explain(error, table)
    if engine.dialect.name != "postgresql":
        return told
    try:
        if told.code is ErrorCode.TABLE_MISSING:
            with engine.connect() as connection:
                missing = no_table(connection, table)
            return WrongUsage(missing.code, **missing.data)
        if told.code is ErrorCode.QUERY_TIMED_OUT:
            with engine.connect() as connection:
                has_waited = is_locked(connection, _quoted(engine, table))
            code = ErrorCode.QUERY_WAITED_FOR_LOCK if has_waited else told.code
            return QueryTimedOut(code, table=table, **told.message.data)
    except SQLAlchemyError as trouble:
        log.debug("the database says no more: %s", trouble)
    return told


def retried(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let a method run anew, after a short pause, where its transaction lost to another one.

    The method must be one transaction, and have no effect but on the database before that is
    committed: log lines, for instance, come after it.

    Raises:
        Contended: it lost at every try.
    """

    @wraps(method)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for failed_tries in range(1, TRANSACTION_TRIES):
            try:
                return method(*args, **kwargs)
            except Contended as lost:
                log.info("a transaction is tried again (try %d): %s", failed_tries, lost)
            # At chance, or those who met would meet again.
            longest = SHORTEST_PAUSE_SECONDS * 2**failed_tries
            _pause(random.uniform(longest / 2, longest))  # noqa: S311 - no secret
        return method(*args, **kwargs)

    return run


def _pause(seconds: float) -> None:
    time.sleep(seconds)
