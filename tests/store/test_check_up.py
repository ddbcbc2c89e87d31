"""What `doctor` finds out about the database: all that is wrong, and nothing where all is right."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from hubspot_sync.report import Check, CheckState
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store import check_up
from hubspot_sync.store.check_up import look_at_database
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.embedded import create_table
from hubspot_sync.store.indexes import create_indexes, wanted_indexes
from tests.conftest import make_database
from tests.tables import APP_TABLE, CONTACTS, PLAIN_TABLE, Contacts

OK, FIX, UNREACHABLE = CheckState.OK, CheckState.FIX, CheckState.UNREACHABLE


def engine_of(url: str) -> Engine:
    return make_engine(str(url).replace("postgresql://", "postgresql+psycopg2://"))


@pytest.fixture(scope="module")
def odd_url(postgres_url: str) -> str:
    """A database whose tables these tests bend."""
    return make_database(postgres_url, "odd", PLAIN_TABLE)


@pytest.fixture
def bent(odd_url: str) -> Iterator[Callable[..., Engine]]:
    """Make the plain table anew, and change it by SQL; return the engine."""
    engine = engine_of(odd_url)

    def bend(*statements: str, table: str = PLAIN_TABLE) -> Engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS contacts CASCADE")
            for statement in (table, *statements):
                connection.exec_driver_sql(statement)
        return engine

    yield bend
    engine.dispose()


def about(checks: list[Check], name: str) -> Check:
    (check,) = (check for check in checks if check.about == name)
    return check


def wrong(checks: list[Check]) -> list[Check]:
    return [check for check in checks if check.state is not OK and check.about != "indexes"]


def test_right_table_is_all_right(table: Contacts) -> None:
    checks = look_at_database(table.engine, CONTACTS)
    # The test server's sessions may be in any zone, which is a check of its own below.
    assert [check for check in wrong(checks) if check.about != "time zone"] == []
    named = [check.about for check in checks]
    assert named[:2] == ["database", "table"]
    assert {"clocks", "indexes"} <= set(named)
    assert ("rights" in named) == (table.shape != "sqlite")
    product = "SQLite" if table.shape == "sqlite" else "PostgreSQL"
    assert about(checks, "database").words.startswith(product)


def test_look_writes_nothing(table: Contacts) -> None:
    table.add()
    before = table.rows()
    look_at_database(table.engine, CONTACTS)
    assert table.rows() == before


@pytest.fixture
def long_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an empty table counts as a long one."""
    monkeypatch.setattr(check_up, "MANY_CONTACTS", -1)


def test_short_queue_needs_no_index(bent: Callable[..., Engine]) -> None:
    check = about(look_at_database(bent(), CONTACTS), "indexes")
    assert (check.state, check.words) == (OK, "none; a queue of many thousands needs them")


def test_indexes_are_missed_one_by_one(
    tmp_path: Path, bent: Callable[..., Engine], long_queue: None
) -> None:
    embedded = make_engine(f"sqlite:///{tmp_path / 'contacts.db'}", create=True)
    create_table(embedded, BUILT_IN_SOURCE)
    for engine in (embedded, bent()):
        check = about(look_at_database(engine, CONTACTS), "indexes")
        assert check.state is FIX
        assert "init-db --indexes" in check.fix
        assert all(each.name in check.words for each in wanted_indexes(CONTACTS))
        create_indexes(engine, CONTACTS)
        assert about(look_at_database(engine, CONTACTS), "indexes").state is OK
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP INDEX hubspot_sync_timed")
        assert (
            about(look_at_database(engine, CONTACTS), "indexes").words
            == "missing: hubspot_sync_timed"
        )
    embedded.dispose()


def test_database_without_the_table_says_how_to_get_it(bent: Callable[..., Engine]) -> None:
    checks = look_at_database(bent("DROP TABLE contacts"), CONTACTS)
    assert [(check.about, check.state) for check in checks] == [("database", OK), ("table", FIX)]
    assert "init-db" in checks[1].fix


def test_file_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'none.db'}")
    (check,) = look_at_database(engine, CONTACTS)
    assert (check.about, check.state) == ("database", FIX)
    assert "init-db" in check.words + check.fix
    assert not (tmp_path / "none.db").exists()
    engine.dispose()


def test_file_that_is_not_there_has_a_fix_of_its_own(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'none.db'}")
    (check,) = look_at_database(engine, CONTACTS)
    engine.dispose()
    assert "network" not in check.fix


def test_server_out_of_reach_is_unreachable_and_shows_no_password() -> None:
    engine = engine_of("postgresql://me:pw-not-shown@127.0.0.1:1/none")
    checks = look_at_database(engine, CONTACTS)
    engine.dispose()
    assert [(check.about, check.state) for check in checks] == [("database", UNREACHABLE)]
    assert "DATABASE_URL" in checks[0].fix
    assert "pw-not-shown" not in str(checks)


def test_server_out_of_reach_is_told_without_what_a_run_would_say() -> None:
    engine = engine_of("postgresql://me:pw@127.0.0.1:1/none")
    (check,) = look_at_database(engine, CONTACTS)
    engine.dispose()
    assert "settled" not in check.words


def test_server_that_is_too_old_is_told(
    bent: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = bent()
    # A session of a newer server cannot be old, so the question is answered in its place.
    real = check_up._server

    class Old:
        dialect = engine.dialect

        def exec_driver_sql(self, statement: str) -> "Old":
            self.answer = "140012" if "num" in statement else "14.12"
            return self

        def scalar_one(self) -> str:
            return self.answer

    monkeypatch.setattr(check_up, "_server", lambda _: real(Old()))  # type: ignore[arg-type]
    check = about(look_at_database(engine, CONTACTS), "database")
    assert (check.state, check.words) == (FIX, "PostgreSQL 14.12")
    assert "15" in check.fix


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DROP COLUMN next_retry_at", "lacks next_retry_at"),
        ("DROP COLUMN page_id, DROP COLUMN last_failed_crm", "lacks page_id, last_failed_crm"),
        ("ALTER hubspot_processing_error TYPE varchar(255)", "255 characters"),
        ("ALTER retry_count DROP DEFAULT, ALTER retry_count TYPE varchar", "not a whole number"),
        ("ALTER next_retry_at TYPE varchar", "next_retry_at is VARCHAR, not a time"),
        ("ALTER last_retry_at TYPE date", "last_retry_at is DATE, not a time"),
        ("ALTER updated_at DROP DEFAULT, ALTER updated_at TYPE text", "updated_at is TEXT"),
    ],
)
def test_column_that_does_not_fit_is_told(
    bent: Callable[..., Engine], change: str, words: str
) -> None:
    found = wrong(look_at_database(bent(f"ALTER TABLE contacts {change}"), CONTACTS))
    (check,) = (check for check in found if check.about == "table")
    assert check.state is FIX
    assert words in check.words
    assert check.fix


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("ALTER hubspot_processing_status TYPE varchar(8)", "hubspot_processing_status"),
        ("ALTER hubspot_sync_status TYPE varchar(8)", "hubspot_sync_status"),
        ("ALTER hubspot_sync_status TYPE integer USING NULL", "hubspot_sync_status"),
        ("ALTER hubspot_contact_id TYPE integer USING NULL", "hubspot_contact_id"),
        ("ALTER hubspot_contact_id TYPE varchar(4)", "hubspot_contact_id"),
        ("ALTER last_failed_crm TYPE varchar(3)", "last_failed_crm"),
        ("ALTER retry_count DROP NOT NULL", "retry_count"),
        ("ALTER hubspot_processing_status SET NOT NULL", "hubspot_processing_status"),
        ("ALTER next_retry_at SET NOT NULL", "next_retry_at"),
    ],
)
def test_column_that_cannot_hold_what_is_written_is_told(
    bent: Callable[..., Engine], change: str, column: str
) -> None:
    found = wrong(look_at_database(bent(f"ALTER TABLE contacts {change}"), CONTACTS))
    assert [check for check in found if check.about == "table" and column in check.words]


def test_all_columns_that_do_not_fit_are_told_at_once(bent: Callable[..., Engine]) -> None:
    engine = bent(
        "ALTER TABLE contacts ALTER hubspot_processing_error TYPE varchar(255), "
        "ALTER next_retry_at TYPE varchar"
    )
    assert (
        len(
            [check for check in wrong(look_at_database(engine, CONTACTS)) if check.about == "table"]
        )
        == 2
    )


def test_enum_that_lacks_a_label_is_told(postgres_url: str) -> None:
    table = APP_TABLE.replace("'Processing', 'Complete', 'Error', 'Skipped'", "'Complete'")
    engine = engine_of(make_database(postgres_url, "labels", table))
    checks = [check for check in look_at_database(engine, CONTACTS) if check.about == "table"]
    engine.dispose()
    (check,) = checks
    assert check.words == "hubspot_sync_status does not take Processing, Error, Skipped"


def test_user_without_rights_is_told_the_grant(bent: Callable[..., Engine], odd_url: str) -> None:
    url = make_url(odd_url)
    # Roles belong to the whole server, which other test processes may share.
    role = f"{url.database}_reader"
    owner = bent(
        f"DROP ROLE IF EXISTS {role}",
        f"CREATE ROLE {role} LOGIN PASSWORD 'r'",
        f"GRANT SELECT ON contacts TO {role}",
    )

    def run(statement: str) -> None:
        with owner.begin() as connection:
            connection.exec_driver_sql(statement)

    as_reader = url.set(username=role, password="r").render_as_string(hide_password=False)
    reader = engine_of(as_reader)
    try:
        check = about(look_at_database(reader, CONTACTS), "rights")
        assert (check.state, check.words) == (FIX, "no UPDATE")
        assert "GRANT SELECT, UPDATE ON contacts" in check.fix
        run(f"REVOKE ALL ON contacts FROM {role}")
        assert (
            about(look_at_database(reader, CONTACTS), "rights").words == "no SELECT and no UPDATE"
        )
        run(f"GRANT SELECT, UPDATE ON contacts TO {role}")
        assert about(look_at_database(reader, CONTACTS), "rights").state is OK
        run(f"ALTER ROLE {role} SET default_transaction_read_only = on")
        reader.dispose()
        check = about(look_at_database(reader, CONTACTS), "rights")
        assert (check.state, check.words) == (FIX, "this user's transactions are read-only")
    finally:
        reader.dispose()
        run(f"DROP OWNED BY {role}; DROP ROLE {role}")


@contextmanager
def clock_ahead(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> Iterator[None]:
    """Let this machine's clock run ahead of the database's."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Ahead":
            return super().now(tz or UTC) + by

    with monkeypatch.context() as patch:
        patch.setattr(check_up, "datetime", Ahead)
        yield


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize(("minutes", "state"), [(0.5, OK), (-0.5, OK), (5, FIX), (-5, FIX)])
def test_clocks_that_differ_are_told(
    table: Contacts, monkeypatch: pytest.MonkeyPatch, minutes: float, state: CheckState
) -> None:
    with clock_ahead(monkeypatch, timedelta(minutes=minutes)):
        check = about(look_at_database(table.engine, CONTACTS), "clocks")
    assert check.state is state
    assert ("NTP" in check.fix) is (state is FIX)


def test_hours_between_clocks_are_not_told_in_seconds(
    bent: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    with clock_ahead(monkeypatch, timedelta(hours=3)):
        check = about(look_at_database(bent(), CONTACTS), "clocks")
    assert "3 hours" in check.words


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Etc/UTC"])
@pytest.mark.parametrize("is_naive", [True, False])
def test_sessions_in_another_zone_are_told_where_the_column_keeps_none(
    bent: Callable[..., Engine], odd_url: str, zone: str, is_naive: bool
) -> None:
    database = make_url(odd_url).database
    kind = "timestamp" if is_naive else "timestamptz"
    bent(
        f"ALTER DATABASE {database} SET timezone TO '{zone}'",
        f"ALTER TABLE contacts ALTER updated_at TYPE {kind}",
    ).dispose()
    engine = engine_of(odd_url)
    found = [check for check in look_at_database(engine, CONTACTS) if check.about == "time zone"]
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {database} RESET timezone")
    engine.dispose()
    assert bool(found) is (is_naive and zone == "America/New_York")
    if found:
        assert zone in found[0].words
        assert "SET timezone TO 'UTC'" in found[0].fix
