"""A HubSpot account as its owner sees it: how it behaves, what it holds, what goes wrong in it."""

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hubspot_sync.hubspot.emulator.faults import Fault
from hubspot_sync.hubspot.emulator.portal import Portal
from hubspot_sync.hubspot.emulator.values import normal_email

READ = frozenset({"crm.objects.contacts.read"})
WRITE = frozenset({"crm.objects.contacts.write"})
SCHEMA_WRITE = frozenset({"crm.schemas.contacts.write"})
SCHEMA_READ = READ | WRITE | {"crm.schemas.contacts.read"}
_ALL_SCOPES = SCHEMA_READ | SCHEMA_WRITE


@dataclass(kw_only=True, eq=False, repr=False)
class Account:
    """What tests set up and look at; the endpoints work on it."""

    token: str = "pat-na1-xxxxxxxx"  # noqa: S105 - it opens nothing
    portal_id: int = 24680135
    scopes: Iterable[str] | None = None  # what the token may do; None for all that contacts need
    search_lag: float = 0.0  # seconds until search shows a contact that was created over HTTP
    burst_limit: int | None = None  # requests in ten seconds, searches not counted
    daily_limit: int | None = None  # requests until midnight in `time_zone`
    search_limit: int | None = None  # searches in a second
    echo_trace_ids: bool = True  # whether a batch's results repeat them, as its errors always do
    update_multi_status: bool = True  # whether trace ids let batch/update succeed in part
    search_finds_secondary: bool = False  # by `email`; reports differ
    time_zone: str = "US/Eastern"
    clock: Callable[[], float] = time.time  # seconds since 1970; limits, lag and dates follow it
    reformats_phones: bool = False  # whether a phone number is stored as HubSpot would write it
    contact_quota: int | None = None  # contacts that the account may hold
    # Method and path of each request since `reset_requests`.
    requests: list[tuple[str, str]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        # Never held while a request waits, or one fault would hold up all the others.
        self._lock = threading.RLock()
        self._portal = Portal(self.clock())
        self._faults: list[Fault] = []

    @property
    def request_count(self) -> int:
        """How many requests came, those to the control API not counted."""
        return len(self.requests)

    def fault(self, **attributes: Any) -> Fault:
        """Add a `Fault` of these attributes behind those there are, and return it."""
        fault = Fault(**attributes)
        re.compile(fault.path)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Let everything go well from now on."""
        with self._lock:
            self._faults.clear()

    def reset_requests(self) -> None:
        """Forget the requests seen."""
        with self._lock:
            self.requests.clear()

    def add_contact(
        self, properties: Mapping[str, str], *, additional_emails: Iterable[str] = ()
    ) -> str:
        """Put a contact there, unchecked and at once visible to search, and return its id.

        Raises:
            ValueError: another contact holds one of the addresses.
        """
        values = dict(properties)
        if values.get("email"):
            values["email"] = normal_email(values["email"])
        additional = [normal_email(email) for email in additional_emails]
        with self._lock:
            for email in (values.get("email", ""), *additional):
                if self._portal.find_by_email(email) is not None:
                    raise ValueError(f"another contact holds the address {email}")
            now = self.clock()
            return self._portal.add(values, additional, now, searchable_at=now).id

    def contacts(self) -> list[dict[str, Any]]:
        """Return the live contacts: `id`, the `properties` written, `additional_emails`."""
        with self._lock:
            return [contact.plain() for contact in self._portal.contacts.values()]

    def contact_by_email(self, email: str) -> dict[str, Any] | None:
        """Return the contact that holds an address, primary or additional."""
        with self._lock:
            contact = self._portal.find_by_email(email)
        return None if contact is None else contact.plain()

    def delete_contact(self, contact_id: str) -> None:
        """Delete a contact, as a user of HubSpot would."""
        with self._lock:
            self._portal.remove(contact_id)

    def merge_contacts(self, primary_id: str, other_id: str) -> str:
        """Merge two contacts into a new record and return its id; the old ids lead to it.

        Raises:
            KeyError: one of them does not exist.
        """
        with self._lock:
            primary, other = self._portal.contacts[primary_id], self._portal.contacts[other_id]
            return self._portal.merge(primary, other, self.clock()).id

    def add_property(self, definition: Mapping[str, Any]) -> None:
        """Define a property, or define it anew; `name` is enough, the rest has defaults."""
        with self._lock:
            self._portal.define(definition, self.clock())

    def archive_property(self, name: str) -> None:
        """Archive a property: contacts keep its values, and nobody sees them."""
        with self._lock:
            self._portal.archive(name, self.clock())

    def property(self, name: str) -> dict[str, Any] | None:
        """Return the definition of a live property."""
        definition = self._portal.properties.get(name)
        return None if definition is None else dict(definition)

    def require_property(self, name: str) -> None:
        """Require a property of every new contact, from API version 2026-09 on."""
        self._portal.required.add(name)

    def block_email(self, email: str) -> None:
        """Refuse an address for ever, as HubSpot does after a GDPR deletion."""
        self._portal.blocked.add(normal_email(email))

    def granted_scopes(self) -> frozenset[str]:
        """What the token may do."""
        return _ALL_SCOPES if self.scopes is None else frozenset(self.scopes)

    def zone(self) -> tzinfo:
        """The account's time zone, or UTC where this machine does not know it."""
        try:
            return ZoneInfo(self.time_zone)
        except ZoneInfoNotFoundError:
            return UTC
