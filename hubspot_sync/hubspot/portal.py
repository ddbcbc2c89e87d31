"""The portal as a whole: whose it is, which of our properties it has, what a sync would find."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    HubSpotDown,
    HubSpotSyncError,
    MappingUnfit,
    NotFound,
    Unavailable,
    WrongPortal,
)
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.report import PropertyReport, PropertyState
from hubspot_sync.rules.mapping import (
    CustomProperty,
    PropertyDefinition,
    PropertyMapping,
)
from hubspot_sync.rules.pace import next_midnight
from hubspot_sync.rules.portal_fit import differences, faults_against, fitted
from hubspot_sync.rules.reaction import property_missing
from hubspot_sync.sentences import Message

log = logging.getLogger(__name__)


def look_at_portal(
    client: HubSpotClient, mapping: PropertyMapping, portal_id: str | None
) -> PropertyMapping:
    """Check, before anything is written, that this is the right portal and has our properties.

    Args:
        client: speaks to HubSpot.
        mapping: what is to be filled.
        portal_id: the only portal that may be written to; None for any.

    Returns:
        The mapping, fitted to the properties that the portal has.

    Raises:
        WrongPortal: the token opens another portal.
        PropertyMissing: `create-properties` has not been run.
        MappingUnfit: the portal does not have what the mapping file fills.
        HubSpotDown: HubSpot does not answer, or not as it should.
    """
    with explained():
        if portal_id is not None:
            _require_portal(client, portal_id)
        return _fit(client, mapping)


def next_day(client: HubSpotClient, now: datetime) -> datetime | None:
    """Return when the portal's next day begins, in UTC; None where HubSpot does not tell it."""
    try:
        zone = client.account().zone
    except HubSpotSyncError as refusal:
        log.info("HubSpot does not tell the portal's time zone any more: %s", refusal)
        return None
    return next_midnight(now, zone)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what HubSpot refuses about the portal into a stop: no contact is to blame for it."""
    try:
        yield
    except Unavailable as trouble:
        if trouble.rate_limited:
            raise HubSpotDown(ErrorCode.RATE_LIMIT, trouble=trouble.message) from trouble
        raise HubSpotDown(ErrorCode.HUBSPOT_DOWN, trouble=trouble.message) from trouble
    except (ContactRejected, Conflict, NotFound) as refusal:
        raise HubSpotDown(
            ErrorCode.PORTAL_REQUEST_REFUSED,
            words=refusal.message.data["words"],
            status=404 if isinstance(refusal, NotFound) else None,
        ) from refusal


def _require_portal(client: HubSpotClient, portal_id: str) -> None:
    opened = client.account().portal_id
    if opened != portal_id:
        raise WrongPortal(ErrorCode.WRONG_PORTAL, opened=opened, wanted=portal_id)


def _fit(client: HubSpotClient, mapping: PropertyMapping) -> PropertyMapping:
    wanted = mapping.checked_properties
    found = client.read_properties(wanted) if wanted else {}
    if mapping.file is not None:
        faults = faults_against(mapping, found)
        if faults:
            raise MappingUnfit(faults)
        return fitted(mapping, found)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise property_missing(missing)
    return fitted(mapping, found)


def create_properties(
    client: HubSpotClient,
    mapping: PropertyMapping,
    portal_id: str | None = None,
    *,
    dry_run: bool = False,
) -> list[PropertyReport]:
    """Create those of our custom properties that the portal lacks; never change one that exists.

    Where the mapping creates none, the properties are not asked for.

    Raises:
        WrongPortal: the token opens another portal than `portal_id`.
        HubSpotDown: HubSpot does not answer, or not as it should.
    """
    with explained():
        if portal_id is not None:
            _require_portal(client, portal_id)
        wanted = mapping.custom_properties
        if not wanted:
            return []
        found = client.read_properties([custom.name for custom in wanted])
        return [
            _compare(custom, found[custom.name])
            if custom.name in found
            else _create_property(client, custom, dry_run=dry_run)
            for custom in wanted
        ]


def _compare(custom: CustomProperty, definition: PropertyDefinition) -> PropertyReport:
    unlike = differences(custom, definition)
    state = PropertyState.DIFFERS if unlike else PropertyState.EXISTS
    return PropertyReport(custom, state, "; ".join(unlike))


def _create_property(
    client: HubSpotClient, custom: CustomProperty, *, dry_run: bool
) -> PropertyReport:
    is_archived = client.has_archived_property(custom.name)
    note = Message(ErrorCode.PROPERTY_RESTORED) if is_archived else ""
    if dry_run:
        return PropertyReport(custom, PropertyState.WOULD_CREATE, note)
    try:
        client.create_property(custom)
    except Conflict:
        return PropertyReport(
            custom, PropertyState.EXISTS, Message(ErrorCode.PROPERTY_JUST_CREATED)
        )
    return PropertyReport(custom, PropertyState.CREATED, note)
