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
from hubspot_sync.hubspot.emulator.history import Source, integration, merge, person
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
    app_id: int = 303  # whom histories name for what is written over the API
    user_id: int = 101  # and for what a person does, if not told otherwise
    # Entries kept of each property. HubSpot keeps some number too; the API reference does not give
    # it, and 45 for contacts is hearsay.
    history_limit: int = 45
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

    def integration(self) -> Source:
        """Whom histories name for what is written over the API."""
        return integration(self.app_id)

    def add_contact(
        self,
        properties: Mapping[str, str],
        *,
        additional_emails: Iterable[str] = (),
        user_id: int | None = None,
    ) -> str:
        """Put a contact there, as a person would: unchecked and at once visible to search.

        Returns:
            Its id.

        Raises:
            ValueError: another contact holds one of the addresses.
        """
        values = _normal(properties)
        additional = [normal_email(email) for email in additional_emails]
        with self._lock:
            self._refuse_taken((values.get("email", ""), *additional), owner=None)
            now = self.clock()
            return self._portal.add(
                values, additional, now, self._person(user_id), searchable_at=now
            ).id

    def edit_contact(
        self, contact_id: str, properties: Mapping[str, str], *, user_id: int | None = None
    ) -> None:
        """Change a contact, as a person would: unchecked, and with a history that names them.

        An empty value clears. The id may be one that was merged away.

        Raises:
            KeyError: there is no such contact.
            ValueError: there is no such property, or another contact holds the address.
        """
        values = _normal(properties)
        with self._lock:
            contact = self._portal.find(contact_id)
            if contact is None:
                raise KeyError(contact_id)
            unknown = sorted(values.keys() - self._portal.properties.keys())
            if unknown:
                raise ValueError(f"this account has no property {', '.join(unknown)}")
            self._refuse_taken((values.get("email", ""),), owner=contact.id)
            now, source = self.clock(), self._person(user_id)
            self._portal.change(contact, values, now, source, self.history_limit)

    def history(self, contact_id: str, name: str) -> list[dict[str, Any]]:
        """Return a property's history as the API shows it, newest first.

        Raises:
            KeyError: there is no such contact.
        """
        with self._lock:
            contact = self._portal.find(contact_id)
        if contact is None:
            raise KeyError(contact_id)
        return contact.history(name, self.history_limit)

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
        """Archive a contact, as a person would; one that is gone already is passed over."""
        with self._lock:
            self._portal.remove(contact_id)

    def merge_contacts(self, primary_id: str, other_id: str, *, user_id: int | None = None) -> str:
        """Merge two contacts into a new record and return its id; the old ids lead to it.

        Raises:
            KeyError: one of them does not exist.
        """
        with self._lock:
            primary, other = self._portal.contacts[primary_id], self._portal.contacts[other_id]
            source = merge(self.user_id if user_id is None else user_id)
            return self._portal.merge(primary, other, self.clock(), source).id

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

    def _person(self, user_id: int | None) -> Source:
        return person(self.user_id if user_id is None else user_id)

    def _refuse_taken(self, emails: Iterable[str], *, owner: str | None) -> None:
        for email in emails:
            found = self._portal.find_by_email(email)
            if found is not None and found.id != owner:
                raise ValueError(f"another contact holds the address {email}")


def _normal(properties: Mapping[str, str]) -> dict[str, str]:
    values = dict(properties)
    if values.get("email"):
        values["email"] = normal_email(values["email"])
    return values
