"""The contacts table, its types, and the moments and keys that only the database can tell."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    literal,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeEngine

TABLE = "contacts"


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


class KeyType(TypeDecorator[UUID]):
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

    type = KeyType()
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


WRITTEN = (
    "hubspot_sync_status",
    "hubspot_processing_status",
    "hubspot_processing_error",
    "hubspot_contact_id",
    "retry_count",
    "next_retry_at",
    "last_retry_at",
    "last_failed_crm",
    "updated_at",
)
"""The columns that we write; all others are read alone."""

metadata = MetaData()

contacts = Table(
    TABLE,
    metadata,
    # Plain strings for statuses: they work on string columns and, since literals have no type
    # yet when PostgreSQL reads them, on the app's enum columns too.
    Column("id", KeyType, primary_key=True, server_default=NewKey()),
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
