"""The contacts table in each shape in which it is met, and rows to put into it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, text

from hubspot_sync.rules.source import BUILT_IN_SOURCE, Key
from hubspot_sync.store.source_table import SourceTable

CONTACTS = SourceTable(BUILT_IN_SOURCE)

_STATUSES = "('New', 'Selected', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped')"
_STATES = "('Queued', 'Processing', 'Complete', 'Error')"

APP_TABLE = f"""
CREATE TYPE hubspot_sync_status AS ENUM {_STATUSES};
CREATE TYPE hubspot_sync_processing_status AS ENUM {_STATES};
CREATE TYPE crm_sync_status AS ENUM {_STATUSES};
CREATE TYPE crm_processing_status AS ENUM {_STATES};
CREATE TABLE contacts (
    id                        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    domain_id                 uuid NOT NULL,
    page_id                   uuid NOT NULL,
    email                     varchar NOT NULL,
    name                      varchar,
    phone_number              varchar,
    source_url                text,
    hubspot_sync_status       hubspot_sync_status NOT NULL DEFAULT 'New',
    hubspot_processing_status hubspot_sync_processing_status,
    hubspot_processing_error  text,
    hubspot_contact_id        varchar,
    brevo_sync_status         crm_sync_status NOT NULL DEFAULT 'New',
    brevo_processing_status   crm_processing_status,
    brevo_processing_error    text,
    brevo_contact_id          varchar,
    retry_count               integer NOT NULL DEFAULT 0,
    last_retry_at             timestamptz,
    next_retry_at             timestamptz,
    last_failed_crm           varchar,
    created_at                timestamp NOT NULL DEFAULT now(),
    updated_at                timestamp NOT NULL DEFAULT now(),
    CONSTRAINT uq_contact_domain_email UNIQUE (domain_id, email)
);
CREATE INDEX ON contacts (email);
CREATE INDEX ON contacts (hubspot_sync_status);
CREATE INDEX ON contacts (hubspot_processing_status);
CREATE INDEX ON contacts (hubspot_contact_id);
CREATE INDEX ON contacts (next_retry_at) WHERE next_retry_at IS NOT NULL;
"""
"""As the app really has it: enum types, a decision that is never NULL, times without a zone."""

PLAIN_TABLE = """
CREATE TABLE contacts (
    id                        uuid PRIMARY KEY,
    domain_id                 uuid,
    page_id                   uuid,
    email                     varchar,
    name                      varchar,
    phone_number              varchar,
    hubspot_sync_status       varchar,
    hubspot_processing_status varchar,
    hubspot_processing_error  varchar(500),
    hubspot_contact_id        varchar,
    retry_count               integer NOT NULL DEFAULT 0,
    next_retry_at             timestamptz,
    last_retry_at             timestamptz,
    last_failed_crm           varchar,
    created_at                timestamptz NOT NULL DEFAULT now(),
    updated_at                timestamptz NOT NULL DEFAULT now()
);
"""
"""As other deployments have it: plain strings, nullable columns, an error of 500 at most."""


_MOST_BYTES = 8_000_000
"""A larger table is emptied by TRUNCATE, which costs more than to delete a few rows."""


class Contacts:
    """The table as the app, another CRM or an operator with SQL would change it.

    Attributes:
        shape: `app`, `plain` or `sqlite`.
    """

    def __init__(self, engine: Engine, shape: str) -> None:
        self.engine = engine
        self.shape = shape

    @property
    def never_synced(self) -> str | None:
        """The decision of a contact that nobody marked."""
        return "New" if self.shape == "app" else None

    def add(
        self,
        email: str | None = "ada@example.com",
        *,
        age: timedelta = timedelta(minutes=1),
        **columns: Any,
    ) -> str:
        """Insert a contact that was last updated `age` ago; Selected and Queued if not told."""
        return self.add_all([email], age=age, **columns)[0]

    def add_all(
        self,
        emails: Sequence[str | None],
        *,
        age: timedelta = timedelta(minutes=1),
        **columns: Any,
    ) -> list[str]:
        """Insert contacts that are alike but for their email, in one transaction."""
        rows = [
            {
                "id": str(uuid4()),
                "domain_id": str(uuid4()),
                "page_id": str(uuid4()),
                "email": email,
                "hubspot_sync_status": "Selected",
                "hubspot_processing_status": "Queued",
            }
            | columns
            for email in emails
        ]
        given = list(rows[0])
        if self.shape == "app" and rows[0]["hubspot_sync_status"] is None:
            given.remove("hubspot_sync_status")
        names = ", ".join((*given, "updated_at"))
        values = ", ".join((*(f":{name}" for name in given), self._ago(age)))
        insert = text(f"INSERT INTO contacts ({names}) VALUES ({values})")
        with self.engine.begin() as connection:
            connection.execute(insert, rows)
        return [row["id"] for row in rows]

    def change(self, key: Key, **columns: Any) -> None:
        """Update a contact as the app would."""
        assigned = ", ".join(f"{name} = :{name}" for name in columns)
        self._execute(f"UPDATE contacts SET {assigned} WHERE id = :id", columns | {"id": key})

    def move(self, key: Key, column: str, ago: timedelta) -> None:
        """Set an instant of a contact to some time ago, or with a negative time to come."""
        self._execute(
            f"UPDATE contacts SET {column} = {self._ago(ago)} WHERE id = :id", {"id": key}
        )

    def age_all(self, ago: timedelta) -> None:
        """Let time pass for every contact: leases run out, retries come due."""
        seconds = ago.total_seconds()
        for column in ("updated_at", "next_retry_at"):
            if self.shape == "sqlite":
                past = f"strftime('%Y-%m-%d %H:%M:%f000', {column}, '-{seconds} seconds')"
            else:
                past = f"{column} - interval '{seconds} seconds'"
            self._execute(f"UPDATE contacts SET {column} = {past}", {})

    def delete(self, key: Key) -> None:
        """Delete a contact."""
        self._execute("DELETE FROM contacts WHERE id = :id", {"id": key})

    def row(self, key: Key) -> dict[str, Any]:
        """Return a contact as plain SQL shows it."""
        with self.engine.begin() as connection:
            found = connection.execute(text("SELECT * FROM contacts WHERE id = :id"), {"id": key})
            return dict(found.mappings().one())

    def rows(self) -> list[dict[str, Any]]:
        """Return all contacts."""
        with self.engine.begin() as connection:
            found = connection.execute(text("SELECT * FROM contacts ORDER BY email, id"))
            return [dict(row) for row in found.mappings()]

    def state(self, key: Key) -> tuple[str | None, str | None]:
        """Return the two status columns of a contact."""
        row = self.row(key)
        return row["hubspot_sync_status"], row["hubspot_processing_status"]

    def clear(self) -> None:
        """Delete every contact."""
        self._execute("TRUNCATE contacts" if self._is_bloated() else "DELETE FROM contacts", {})

    def _is_bloated(self) -> bool:
        """Tell whether dead rows, which the tests' server never sweeps up, make the table slow."""
        if self.shape == "sqlite":
            return False
        with self.engine.begin() as connection:
            size = text("SELECT pg_total_relation_size('contacts')")
            return int(connection.execute(size).scalar_one()) > _MOST_BYTES

    def _execute(self, statement: str, values: Mapping[str, object]) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def _ago(self, ago: timedelta) -> str:
        seconds = ago.total_seconds()
        if self.shape == "sqlite":
            return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{-seconds} seconds')"
        return f"now() - interval '{seconds} seconds'"
