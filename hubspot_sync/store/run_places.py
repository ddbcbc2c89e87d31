"""The places of simultaneous runs: a run takes one, or learns that all are taken.

A courtesy that keeps runs from crowding, not what keeps contacts safe: the claims do that. So a
place that gets lost on the way does not end the run.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.source import BUILT_IN_SOURCE, Source
from hubspot_sync.sentences import Message
from hubspot_sync.store.database import table_of, transaction
from hubspot_sync.store.failures import explain

log = logging.getLogger(__name__)

_NAMESPACE = 0x48554253
"""The first half of the built-in source's two-part advisory lock keys ('HUBS')."""

_WITHOUT_TIME_OUTS = text(
    "SELECT set_config(name, '0', true) FROM pg_settings "
    "WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')"
)
"""A long, idle transaction is what keeps a place; the server must not end it for that.

Of the settings, servers before version 17 have only the first.
"""

_LOCK_MODE = 0o666
"""Empty files, which a run by root leaves behind for the runs of the program's own user."""


@contextmanager
def take_place(engine: Engine, database_url: str, source: Source, places: int) -> Iterator[bool]:
    """Hold one of a source's places while the block runs; yield False where all are taken.

    On PostgreSQL it is a transaction-level advisory lock on a connection of its own: it works
    behind a transaction pooler, and dies with the process. On SQLite it is a locked file.
    """
    with ExitStack() as stack:
        if engine.dialect.name == "postgresql":
            yield stack.enter_context(_advisory_place(engine, source, places))
        else:
            database = make_url(database_url).database or ""
            yield stack.enter_context(_file_place(database, source, places))


def count_taken(engine: Engine, database_url: str, source: Source, places: int) -> int:
    """Count the places of a source that runs hold now.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    if engine.dialect.name != "postgresql":
        return _count_locked(make_url(database_url).database or "", source, places)
    held = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND classid = :namespace "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with transaction(engine, read_only=True) as connection:
        return int(connection.execute(held, {"namespace": _namespace(source)}).scalar_one())


def _namespace(source: Source) -> int:
    """Return the number that a source's places share; another table, or name of ours, has another.

    Whoever names a table otherwise, with its schema or without, has places of their own, which
    does no harm: the claims keep runs apart.
    """
    if (source.table, source.crm_name) == (BUILT_IN_SOURCE.table, BUILT_IN_SOURCE.crm_name):
        return _NAMESPACE
    name = f"{source.table}\0{source.crm_name}".encode()
    # PostgreSQL's half of a key has a sign.
    return int.from_bytes(sha256(name).digest()[:4]) & 0x7FFF_FFFF


def _count_locked(database: str, source: Source, places: int) -> int:
    from filelock import FileLock, Timeout

    taken = 0
    for place in range(places):
        path = _lock_file(database, source, place)
        if os.path.exists(path):  # noqa: PTH110 - a folder closed to us has nothing to count
            try:
                FileLock(path, timeout=0, mode=_LOCK_MODE).acquire().lock.release()
            except Timeout:
                taken += 1
            except OSError as error:
                log.info("the lock %s cannot be looked at: %s", path, error)
    return taken


def _lock_file(database: str, source: Source, place: int) -> str:
    namespace = _namespace(source)
    part = "" if namespace == _NAMESPACE else f".{namespace:08x}"
    return f"{database}{part}.run{place + 1}.lock"


@contextmanager
def _advisory_place(engine: Engine, source: Source, places: int) -> Iterator[bool]:
    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        raise explain(error, table_of(engine)) from error
    try:
        yield _lock_one(connection, _namespace(source), places)
    finally:
        try:
            connection.close()
        except SQLAlchemyError:
            log.info("the connection that kept this run's place was lost on the way")


def _lock_one(connection: Connection, namespace: int, places: int) -> bool:
    try:
        connection.execute(_WITHOUT_TIME_OUTS)
        try_lock = text("SELECT pg_try_advisory_xact_lock(:namespace, :place)")
        return any(
            connection.execute(try_lock, {"namespace": namespace, "place": place}).scalar_one()
            for place in range(places)
        )
    except SQLAlchemyError as error:
        raise explain(error, table_of(connection.engine)) from error


@contextmanager
def _file_place(database: str, source: Source, places: int) -> Iterator[bool]:
    from filelock import FileLock, Timeout

    if not os.path.isfile(database):  # noqa: PTH113 - nor where the folder is closed to us
        # The queue will say so; no lock is left where there is nothing to keep.
        yield True
        return
    for place in range(places):
        path = _lock_file(database, source, place)
        lock = FileLock(path, timeout=0, mode=_LOCK_MODE)
        try:
            lock.acquire()
        except Timeout:
            continue
        except OSError as error:
            log.warning(Message(ErrorCode.NO_RUN_SLOT, path=path, why=error.strerror))
            yield True
            return
        try:
            yield True
        finally:
            lock.release()
        return
    yield False
