"""Types of columns, and the moments and keys that only the database can tell."""

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, DateTime, Dialect, Float, TypeDecorator, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import NullType

from hubspot_sync.rules.source import Key, Value


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


class KeyType(TypeDecorator[Key]):
    """A key of any type: text as it stands, a whole number, a UUID as its text.

    It is sent as a literal without a type, which PostgreSQL reads as the column's own.
    """

    impl = NullType
    cache_ok = True

    def process_bind_param(self, value: Key | None, _: Dialect) -> Key | None:
        """Return the key as it is."""
        return value

    def process_result_value(self, value: object, _: Dialect) -> Key | None:
        """Return the key as text, but for a whole number."""
        return value if value is None or isinstance(value, int) else str(value)


class ValueType(TypeDecorator[Value]):
    """A mapped column of any type, as the rules know values."""

    impl = NullType
    cache_ok = True

    def process_result_value(self, value: object, _: Dialect) -> Value:
        """Return the value, in a type that can be compared and hashed."""
        match value:
            case Decimal() | float() if not math.isfinite(value):
                # NaN equals not even itself, so that it would count as edited for ever.
                return str(value)
            case bytes() | memoryview():
                return bytes(value).hex()
            case None | str() | bool() | int() | Decimal() | datetime() | date():
                return value
            case float():
                return Decimal(repr(value))
            case list():
                return tuple("" if each is None else str(each) for each in value)
            case dict():
                return json.dumps(value, ensure_ascii=False, sort_keys=True)
        return str(value)


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


class NewKey(FunctionElement[Key]):
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
