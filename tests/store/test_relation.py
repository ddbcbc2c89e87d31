"""A table that is none, is in parts, or is not all this user's: what is said, and what works."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import QueryTimedOut
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.report import Check, CheckState
from hubspot_sync.rules.settlement import Delivered, Failed, Outcome, Rejected
from hubspot_sync.store.check_up import look_at_database
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine, transaction
from hubspot_sync.store.indexes import create_indexes, has_index, wanted_indexes
from hubspot_sync.store.marking import Marking
from hubspot_sync.store.relation import Policy, shows_all
from hubspot_sync.store.selection import Selection
from tests.acceptance.program import Ended, Program, environment
from tests.conftest import LEASE, POLICY, make_database
from tests.for_each import for_each
from tests.messages import said
from tests.store.test_indexes import plan_of_a_claim
from tests.tables import CONTACTS, PLAIN_TABLE, Contacts

NAMES = [each.name for each in wanted_indexes(CONTACTS)]
PARTITIONS = """
DROP SCHEMA IF EXISTS "Parts" CASCADE;
CREATE SCHEMA "Parts";
ALTER TABLE contacts RENAME TO whole;
CREATE TABLE contacts (LIKE whole INCLUDING ALL) PARTITION BY HASH (id);
CREATE TABLE "Parts"."First" PARTITION OF contacts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE rest PARTITION OF contacts FOR VALUES WITH (MODULUS 2, REMAINDER 1)
    PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF rest FOR VALUES FROM (MINVALUE)
    TO ('80000000-0000-0000-0000-000000000000');
CREATE TABLE high PARTITION OF rest DEFAULT;
"""


def engine_of(url: str) -> Engine:
    return make_engine(str(url).replace("postgresql://", "postgresql+psycopg2://"))


def run_sql(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.fixture(scope="module")
def url(postgres_url: str) -> str:
    """A database of our own, whose table these tests replace."""
    return make_database(postgres_url, "relation", PLAIN_TABLE)


@pytest.fixture
def owner(url: str) -> Iterator[Engine]:
    """The owner of a plain table, just made."""
    engine = engine_of(url)
    run_sql(
        engine,
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public",
        PLAIN_TABLE,
    )
    yield engine
    engine.dispose()


@pytest.fixture
def user_url(owner: Engine, url: str) -> Iterator[str]:
    """The address of a user without any rights on the table."""
    database = make_url(url).database
    # Roles belong to the whole server, which other test processes may share.
    role = f"{database}_user"
    run_sql(owner, f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role} LOGIN PASSWORD 'r'")
    yield make_url(url).set(username=role, password="r").render_as_string(hide_password=False)
    run_sql(owner, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.fixture
def user(user_url: str) -> Iterator[Engine]:
    """That user."""
    engine = engine_of(user_url)
    yield engine
    engine.dispose()


@pytest.fixture
def program(user_url: str, hubspot: Emulator) -> Program:
    """The program as that user."""
    return Program(environment(user_url, hubspot.url))


def grant(owner: Engine, user: Engine, *rights: str) -> None:
    listed = ", ".join(rights or ("SELECT", "UPDATE"))
    run_sql(owner, f"GRANT {listed} ON contacts TO {user.url.username}")


def about(checks: list[Check], name: str) -> Check:
    (check,) = (check for check in checks if check.about == name)
    return check


def mends(ended: Ended) -> dict[str, str]:
    return {
        check["about"]: check["words"]
        for check in ended.document["checks"]
        if check["state"] == CheckState.FIX
    }


def test_row_security_that_hides_contacts_is_told_until_the_user_is_exempt(
    owner: Engine, user: Engine, program: Program
) -> None:
    grant(owner, user)
    Contacts(owner, "plain").add()
    run_sql(owner, "ALTER TABLE contacts ENABLE ROW LEVEL SECURITY")
    ended = program.run("doctor", "--json")
    assert ended.code == 1
    assert "may hide contacts" in mends(ended)["row security"]
    check = about(look_at_database(user, CONTACTS), "row security")
    run_sql(owner, check.fix.partition("; or")[0])
    assert about(look_at_database(user, CONTACTS), "row security").state is CheckState.OK
    assert len(ContactQueue(user, CONTACTS, policy=POLICY, lease=LEASE).claim(9)) == 1
    run_sql(owner, "DROP POLICY hubspot_sync ON contacts")
    assert about(look_at_database(user, CONTACTS), "row security").state is CheckState.FIX
    run_sql(owner, f"ALTER ROLE {user.url.username} BYPASSRLS")
    assert "row security" not in {check.about for check in look_at_database(user, CONTACTS)}
    assert "row security" not in {check.about for check in look_at_database(owner, CONTACTS)}


def test_table_in_a_schema_that_the_user_may_not_use_is_not_called_missing(
    owner: Engine, user: Engine, program: Program
) -> None:
    grant(owner, user)
    role = user.url.username
    run_sql(
        owner,
        "DROP SCHEMA IF EXISTS crm CASCADE; CREATE SCHEMA crm; ALTER TABLE contacts SET SCHEMA crm",
        f"ALTER ROLE {role} SET search_path = crm",
    )
    check = about(look_at_database(user, CONTACTS), "table")
    assert check.code is ErrorCode.SCHEMA_CLOSED
    ended = program.run("sync-queue", "--json")
    assert (ended.code, ended.document["error_code"]) == (2, "SCHEMA_CLOSED")
    assert "init-db" not in ended.err
    run_sql(owner, check.fix.replace("the user in DATABASE_URL", str(role)))
    user.dispose()
    assert about(look_at_database(user, CONTACTS), "table").state is CheckState.OK
    assert program.run("sync-queue").code == 0


def test_table_that_is_nowhere_is_called_missing(user: Engine, owner: Engine) -> None:
    run_sql(owner, "DROP TABLE contacts; DROP SCHEMA IF EXISTS crm CASCADE")
    assert about(look_at_database(user, CONTACTS), "table").code is ErrorCode.TABLE_MISSING


def time_out(engine: Engine, *statements: str) -> QueryTimedOut:
    def run() -> None:
        with transaction(engine) as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = '20ms'")
            for statement in statements:
                connection.exec_driver_sql(statement)

    with pytest.raises(QueryTimedOut) as slow:
        run()
    return slow.value


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE", "ROW EXCLUSIVE"])
def test_query_that_times_out_behind_a_lock_wants_no_index(owner: Engine, mode: str) -> None:
    with owner.connect() as app:
        app.exec_driver_sql(f"LOCK TABLE contacts IN {mode} MODE")
        slow = time_out(owner, "LOCK TABLE contacts IN ROW EXCLUSIVE MODE", "SELECT pg_sleep(1)")
    is_slow = mode == "ROW EXCLUSIVE"
    wanted = ErrorCode.QUERY_TIMED_OUT if is_slow else ErrorCode.QUERY_WAITED_FOR_LOCK
    assert slow.code is wanted
    assert ("init-db --indexes" in str(slow)) is is_slow


def test_query_that_times_out_behind_a_locked_row_wants_no_index(owner: Engine) -> None:
    Contacts(owner, "plain").add()
    with owner.connect() as app:
        app.exec_driver_sql("SELECT FROM contacts FOR UPDATE")
        slow = time_out(owner, "UPDATE contacts SET retry_count = 1")
    assert slow.code is ErrorCode.QUERY_WAITED_FOR_LOCK


OPEN = Policy("*", True, "true", None)
POLICIES = [
    OPEN,
    Policy("r", True, "true", None),
    Policy("w", True, "true", "true"),
    Policy("*", True, "(retry_count < 3)", None),
    Policy("w", True, "true", "(retry_count < 3)"),
    Policy("*", False, "true", None),
    Policy("r", False, "(retry_count < 3)", None),
]


@for_each("policies", [*combinations(POLICIES, 2), *combinations(POLICIES, 3)])
def test_policies_show_all_where_reading_and_writing_are_open_and_nothing_restricts(
    policies: tuple[Policy, ...],
) -> None:
    def lets(row_is_good: bool, command: str, *, writing: bool = False) -> bool:
        def passes(policy: Policy) -> bool:
            condition = policy.taken if writing and policy.taken else policy.shown
            return condition == "true" or row_is_good

        mine = [each for each in policies if each.command in ("*", command)]
        permits = any(passes(each) for each in mine if each.is_permissive)
        return permits and all(passes(each) for each in mine if not each.is_permissive)

    bad_row_passes = lets(False, "r") and lets(False, "w") and lets(False, "w", writing=True)
    assert shows_all(policies) is bad_row_passes


def test_column_that_the_user_may_not_read_or_write_is_told(
    owner: Engine, user: Engine, program: Program
) -> None:
    role = user.url.username
    names = [*CONTACTS.source.all_columns]
    readable = ", ".join(name for name in names if name != "phone_number")
    writable = ", ".join(
        name for name in CONTACTS.written if name not in ("updated_at", "retry_count")
    )
    run_sql(owner, f"GRANT SELECT ({readable}), UPDATE ({writable}) ON contacts TO {role}")
    ended = program.run("doctor", "--json")
    assert ended.code == 1
    words = "no SELECT on phone_number and no UPDATE on retry_count, updated_at"
    assert mends(ended)["rights"] == words


def test_rights_on_the_columns_that_are_named_suffice_for_everything(
    owner: Engine, user: Engine
) -> None:
    table = Contacts(owner, "plain")
    writable = ", ".join(CONTACTS.written)
    run_sql(owner, f"GRANT SELECT, UPDATE ({writable}) ON contacts TO {user.url.username}")
    assert about(look_at_database(user, CONTACTS), "rights").state is CheckState.OK
    keys = table.add_all(["a@example.com", "b@example.com", "c@example.com"])
    queue = ContactQueue(user, CONTACTS, policy=POLICY, lease=LEASE)
    ends: list[Outcome] = [Delivered("1", created=True), Failed(said("no")), Rejected(said("no"))]
    settled = queue.settle(list(zip(queue.claim(3), ends, strict=True)))
    assert len(settled) == 3
    marking = Marking(user, CONTACTS, lease=LEASE)
    assert marking.reset(Selection(every=True), keep_copy=lambda _: None)[0] == 3
    assert marking.enqueue(Selection(contact_ids=keys))[0] == 3
    table.move(keys[0], "updated_at", 2 * LEASE)
    table.change(keys[0], hubspot_processing_status="Processing")
    table.change(keys[0], hubspot_sync_status="Processing")
    assert queue.claim(1)[0].is_takeover


JOINED = "CREATE VIEW contacts AS SELECT DISTINCT ON (id) * FROM people"


@pytest.mark.parametrize(
    "view",
    [
        "CREATE VIEW contacts AS SELECT * FROM people",
        JOINED,
        "CREATE MATERIALIZED VIEW contacts AS SELECT * FROM people",
    ],
)
def test_view_is_told_by_doctor_and_has_no_indexes(
    owner: Engine, user: Engine, program: Program, view: str
) -> None:
    run_sql(owner, "ALTER TABLE contacts RENAME TO people", view)
    grant(owner, user)
    ended = program.run("doctor", "--json")
    assert ended.code == 1
    assert "view, whose rows the sync cannot lock" in mends(ended)["table"]
    for more in ([], ["--dry-run"]):
        ended = program.run("init-db", "--indexes", *more)
        assert (ended.code, ended.out) == (2, "")
        assert "view" in ended.err
        assert "network" not in ended.err


def test_view_whose_rows_cannot_be_locked_is_the_reason_of_a_run(
    owner: Engine, user: Engine, program: Program
) -> None:
    run_sql(owner, "ALTER TABLE contacts RENAME TO people", JOINED)
    grant(owner, user)
    ended = program.run("sync-queue")
    assert ended.code == 2
    assert "not at a view" in ended.err
    assert "network" not in ended.err


def test_embedded_view_is_told_by_doctor_and_has_no_indexes(
    tmp_path: Path, hubspot: Emulator
) -> None:
    address = f"sqlite:///{tmp_path}/contacts.db"
    program = Program(environment(address, hubspot.url))
    program.run("init-db")
    embedded = make_engine(address)
    run_sql(embedded, "ALTER TABLE contacts RENAME TO people")
    run_sql(embedded, "CREATE VIEW contacts AS SELECT * FROM people")
    embedded.dispose()
    assert "a view" in mends(program.run("doctor", "--json"))["table"]
    ended = program.run("init-db", "--indexes")
    assert (ended.code, "a view" in ended.err) == (2, True)


def test_partitioned_table_works_and_has_its_indexes(owner: Engine) -> None:
    run_sql(owner, PARTITIONS)
    table = Contacts(owner, "plain")
    table.add_all([f"c{number}@example.com" for number in range(40)])
    assert about(look_at_database(owner, CONTACTS), "table").words.endswith(", partitioned")
    assert create_indexes(owner, CONTACTS) == [(name, True) for name in NAMES]
    assert create_indexes(owner, CONTACTS) == [(name, False) for name in NAMES]
    assert all(has_index(owner, CONTACTS, name) for name in NAMES)
    assert about(look_at_database(owner, CONTACTS), "indexes").state is CheckState.OK
    with owner.begin() as connection:
        plan = str(plan_of_a_claim(connection))
    assert "Seq Scan" not in plan, plan
    queue = ContactQueue(owner, CONTACTS, policy=POLICY, lease=LEASE)
    claims = queue.claim(100)
    assert len(queue.settle([(claim, Delivered("1", created=True)) for claim in claims])) == 40
    assert {row["hubspot_sync_status"] for row in table.rows()} == {"Complete"}


def test_index_of_a_partitioned_table_that_was_left_half_made_is_made_anew(owner: Engine) -> None:
    run_sql(owner, PARTITIONS)
    create_indexes(owner, CONTACTS)
    broken = NAMES[0]
    run_sql(
        owner,
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{broken}'::regclass",
    )
    assert create_indexes(owner, CONTACTS) == [(name, name == broken) for name in NAMES]
    assert has_index(owner, CONTACTS, broken)
