"""SQL that is compiled once for all the engines of a test process.

An engine keeps what it compiled, and finds it again by the statement and by its own dialect. Nearly
every test makes an engine of its own, so each would compile the same statements anew; that was a
fifth of the time of whatever claims and settles. The engines of one process have the same dialects
with the same options and the same server, so they compile the same.
"""

from functools import cache, cached_property

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.util import LRUCache

from hubspot_sync.store.source_table import SourceTable


def share_compiled_statements() -> None:
    """Let all engines that are made from now on share what they compile."""
    _share_tables()
    for dialect in (PGDialect_psycopg2, SQLiteDialect_pysqlite):
        _share_among(dialect)


def _share_tables() -> None:
    """Let equal sources be one table; each run makes it anew, and a statement is known by it."""
    made = SourceTable.__dict__["table"].func
    table_of = cache(lambda source: made(SourceTable(source)))
    shared = cached_property(lambda self: table_of(self.source))
    shared.__set_name__(SourceTable, "table")
    SourceTable.table = shared  # type: ignore[assignment]


def _share_among(dialect: type[Dialect]) -> None:
    compiled = LRUCache[object, object](capacity=2000)

    def keep_together(_: type[Dialect], engine: Engine) -> None:
        engine._compiled_cache = compiled  # type: ignore[assignment]

    dialect.engine_created = classmethod(keep_together)  # type: ignore[method-assign, assignment]
    # The dialect is a part of what a compiled statement is found by.
    dialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
    dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
