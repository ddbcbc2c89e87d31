"""The source: which table contacts come from, and which of its columns the queue is kept in."""

from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

Key = int | str
"""The key of a row as the database tells it; a UUID is its text, in lower case with dashes."""

Value = str | bool | int | Decimal | date | datetime | tuple[str, ...] | None
"""What a column holds; an array is a tuple of its elements' texts."""


@dataclass(frozen=True, slots=True)
class QueueColumns:
    """The columns in which the queue is kept, each under the name that the table has for it.

    Attributes:
        decision: what a person decided.
        state: what the system is about.
        error: why the last delivery failed.
        record_id: HubSpot's record id.
        retry_count: retries so far; this column and the next three may be shared by CRMs.
        next_retry_at: when the next retry is due.
        last_retry_at: when a delivery last failed.
        failed_crm: the CRM that the three above speak of.
        updated_at: when the row was last changed.
    """

    decision: str = "hubspot_sync_status"
    state: str = "hubspot_processing_status"
    error: str = "hubspot_processing_error"
    record_id: str = "hubspot_contact_id"
    retry_count: str = "retry_count"
    next_retry_at: str = "next_retry_at"
    last_retry_at: str = "last_retry_at"
    failed_crm: str = "last_failed_crm"
    updated_at: str = "updated_at"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in the table."""
        return tuple(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True, slots=True)
class Source:
    """The table that contacts come from.

    Attributes:
        table: its name; `schema.table` where the schema is to be named.
        key: the column that names a row.
        email: the column with the address.
        columns: the columns that the mapping reads, each once.
        queue: the columns that the queue is kept in.
        crm_name: our name in `queue.failed_crm`.
    """

    table: str = "contacts"
    key: str = "id"
    email: str = "email"
    columns: tuple[str, ...] = ()
    queue: QueueColumns = field(default_factory=QueueColumns)
    crm_name: str = "hubspot"

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Every column that is read or written, each once."""
        return tuple(dict.fromkeys((self.key, self.email, *self.columns, *self.queue.names)))


BUILT_IN_SOURCE = Source(columns=("name", "phone_number", "domain_id", "page_id"))
"""ScraperSky's table; handed in by whoever builds the parts."""


def is_built_in(source: Source) -> bool:
    """Tell whether a source is ScraperSky's table, be it that fewer of its columns are mapped."""
    built_in = BUILT_IN_SOURCE
    return replace(source, columns=built_in.columns) == built_in and set(source.columns) <= {
        *built_in.all_columns
    }


def spellings(text: str) -> tuple[str, ...]:
    """Return how a key that a person typed may stand in the table.

    A UUID has several spellings, of which a column of text holds one.
    """
    try:
        return tuple(dict.fromkeys((text, str(UUID(text)))))
    except ValueError:
        return (text,)
