"""Contacts as ScraperSky's table has them, in few words."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time

from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.rules.mapping import CONTACTS, Contact, PropertyMapping, built_in_mapping
from hubspot_sync.rules.shaping import RunContext, to_properties
from hubspot_sync.rules.source import Key


def scraped(
    key: Key,
    email: str | None = None,
    name: str | None = None,
    phone_number: str | None = None,
    domain_id: str | None = None,
    page_id: str | None = None,
    hubspot_contact_id: str | None = None,
) -> Contact:
    """Return a contact with these columns."""
    values = {
        "name": name,
        "phone_number": phone_number,
        "domain_id": domain_id,
        "page_id": page_id,
    }
    return Contact(key, email, tuple(values.items()), hubspot_contact_id)


MAPPING = built_in_mapping()


def contacts_client(
    transport: Transport,
    *,
    api_version: str = "v3",
    custom_properties: Collection[str] | None = None,
) -> HubSpotClient:
    """Return a client of HubSpot's contacts, as the built-in mapping has them."""
    names = [each.name for each in MAPPING.custom_properties]
    return HubSpotClient(
        transport,
        object_type=CONTACTS,
        api_version=api_version,
        custom_properties=names if custom_properties is None else custom_properties,
    )


def edited(contact: Contact, **columns: str | None) -> Contact:
    """Return a contact with other values: columns, `email` or `hubspot_contact_id`."""
    email = columns.pop("email", contact.email)
    stored_id = columns.pop("hubspot_contact_id", contact.hubspot_contact_id)
    values = tuple((dict(contact.values) | columns).items())
    return Contact(contact.id, email, values, stored_id)


def context_of(day: date) -> RunContext:
    """Return what a run at noon of that day goes by."""
    return RunContext(datetime.combine(day, time(12), UTC), "c0ffee00")


def properties_of(contact: Contact, mapping: PropertyMapping, day: date) -> dict[str, str]:
    """Return what HubSpot is told of a contact whose values can all be sent."""
    shaped = to_properties(contact, mapping, context_of(day))
    assert all(isinstance(value, str) for value in shaped.values()), shaped
    return {name: str(value) for name, value in shaped.items()}
