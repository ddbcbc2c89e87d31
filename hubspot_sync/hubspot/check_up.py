"""What `doctor` asks HubSpot: the token, its scopes, the properties, the day's quota."""

from collections.abc import Mapping

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotDown, HubSpotSyncError, QuotaSpent
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.hubspot.portal import explained
from hubspot_sync.report import Check, CheckState
from hubspot_sync.rules.mapping import CustomProperty, PropertyDefinition, PropertyMapping
from hubspot_sync.rules.portal_fit import differences, faults_against
from hubspot_sync.sentences import Message

NEEDED_SCOPES = (
    "crm.objects.contacts.read",
    "crm.objects.contacts.write",
    "crm.schemas.contacts.read",
    "crm.schemas.contacts.write",
)
"""What a private app or service key must be given: the last for `create-properties` alone."""


def look_at_hubspot(
    client: HubSpotClient,
    token: str,
    pace: Pace,
    mapping: PropertyMapping,
    *,
    portal_id: str | None,
    reserve_percent: int,
) -> list[Check]:
    """Ask HubSpot about everything that a sync needs; write nothing.

    Args:
        client: speaks to HubSpot.
        token: the one that it sends.
        pace: what it learns the quota with.
        mapping: what is to be filled.
        portal_id: the portal that the settings name; None for any.
        reserve_percent: the share of the day's quota that is kept for other apps.
    """
    try:
        with explained():
            account = client.account()
    except HubSpotSyncError as trouble:
        return [_unanswered("token", trouble), *_not_asked("scopes", "properties", "quota")]
    checks = [
        Check("token", CheckState.OK, f"opens portal {account.portal_id} ({account.account_type})")
    ]
    if portal_id not in (None, account.portal_id):
        found = Message(ErrorCode.WRONG_PORTAL, opened=account.portal_id, wanted=portal_id)
        checks.append(Check.of("portal", CheckState.FIX, found))
    checks.append(_scopes(client, token))
    checks += _properties(client, mapping)
    checks.append(_quota(pace, reserve_percent))
    return checks


def _unanswered(about: str, trouble: HubSpotSyncError) -> Check:
    is_refusal = trouble.code is ErrorCode.PORTAL_REQUEST_REFUSED
    is_away = isinstance(trouble, HubSpotDown | QuotaSpent) and not is_refusal
    state = CheckState.UNREACHABLE if is_away else CheckState.FIX
    return Check.of(about, state, trouble.message)


def _not_asked(*what: str) -> list[Check]:
    unknown = Message(ErrorCode.NOT_CHECKED, what="HubSpot")
    return [Check.of(about, CheckState.UNKNOWN, unknown) for about in what]


def _scopes(client: HubSpotClient, token: str) -> Check:
    try:
        held = client.scopes(token)
    except HubSpotSyncError as refusal:
        unknown = Message(ErrorCode.SCOPES_UNKNOWN, trouble=refusal.message)
        return Check.of("scopes", CheckState.UNKNOWN, unknown)
    missing = [scope for scope in NEEDED_SCOPES if scope not in held]
    if missing:
        found = Message(ErrorCode.SCOPES_NOT_GRANTED, scopes=", ".join(missing))
        return Check.of("scopes", CheckState.FIX, found)
    return Check("scopes", CheckState.OK, ", ".join(NEEDED_SCOPES))


def _properties(client: HubSpotClient, mapping: PropertyMapping) -> list[Check]:
    wanted = mapping.custom_properties
    try:
        with explained():
            found = client.read_properties(mapping.checked_properties)
    except HubSpotSyncError as trouble:
        return [_unanswered("properties", trouble)]
    if mapping.file is not None:
        return _properties_of_file(mapping, found)
    return [_property(custom, found.get(custom.name)) for custom in wanted]


def _property(custom: CustomProperty, found: PropertyDefinition | None) -> Check:
    if found is None:
        missing = Message(ErrorCode.PROPERTY_MISSING, properties=custom.name)
        return Check.of("properties", CheckState.FIX, missing)
    unlike = differences(custom, found)
    if unlike:
        told = Message(ErrorCode.PROPERTY_DIFFERS, name=custom.name, differences="; ".join(unlike))
        return Check.of("properties", CheckState.FIX, told)
    return Check("properties", CheckState.OK, f"{custom.name}, {custom.type}")


def _properties_of_file(
    mapping: PropertyMapping, found: Mapping[str, PropertyDefinition]
) -> list[Check]:
    faults = faults_against(mapping, found)
    if not faults:
        words = f"{len(mapping.checked_properties)} properties are as {mapping.file} has them"
        return [Check("properties", CheckState.OK, words)]
    return [
        Check.of("properties", CheckState.FIX, Message(ErrorCode.PROPERTY_UNFIT, fault=fault))
        for fault in faults
    ]


def _quota(pace: Pace, reserve_percent: int) -> Check:
    quota = pace.quota
    if quota is None:
        return Check.of("quota", CheckState.UNKNOWN, Message(ErrorCode.QUOTA_UNKNOWN))
    left = Message(ErrorCode.QUOTA_LOW, remaining=quota.remaining, most=quota.most)
    if quota.is_down_to(reserve_percent):
        return Check.of("quota", CheckState.FIX, left)
    return Check("quota", CheckState.OK, left.what)
