"""What `doctor` asks HubSpot: the token, its scopes, the properties, the day's quota."""

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotDenied, HubSpotSyncError, NotFound, QuotaSpent, Unavailable
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.report import Check, CheckState
from hubspot_sync.rules.mapping import PropertyMapping, differences
from hubspot_sync.rules.reaction import rate_limit_used_up

NEEDED_SCOPES = (
    "crm.objects.contacts.read",
    "crm.objects.contacts.write",
    "crm.schemas.contacts.read",
    "crm.schemas.contacts.write",
)
"""What a private app or service key must be given: the last for `create-properties` alone."""

_CLICKS = "In HubSpot: Settings, Integrations, the private app or service key, Scopes."


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
        account = client.account()
    except HubSpotSyncError as trouble:
        return [_without_account(trouble), *_not_asked("scopes", "properties", "quota")]
    checks = [
        Check("token", CheckState.OK, f"opens portal {account.portal_id} ({account.account_type})")
    ]
    if portal_id not in (None, account.portal_id):
        words = f"HUBSPOT_PORTAL_ID is {portal_id}, the token opens {account.portal_id}"
        checks.append(Check("portal", CheckState.MEND, words, "Correct one of the two."))
    checks.append(_scopes(client, token))
    checks += _properties(client, mapping)
    checks.append(_quota(pace, reserve_percent))
    return checks


def _without_account(trouble: HubSpotSyncError) -> Check:
    match trouble:
        case Unavailable() if trouble.rate_limited:
            told = rate_limit_used_up(trouble)
            return Check("token", CheckState.UNREACHABLE, told.what, f"{told.fix}.")
        case Unavailable() | NotFound():
            mend = "Look at https://status.hubspot.com, HUBSPOT_API_BASE_URL, and the proxy."
            return Check("token", CheckState.UNREACHABLE, f"no usable answer: {trouble}", mend)
        case QuotaSpent():
            mend = (
                "Wait for midnight in the portal's time zone."
                if trouble.is_daily
                else ("Run doctor again later.")
            )
            return Check("token", CheckState.UNREACHABLE, str(trouble), mend)
        case HubSpotDenied() if trouble.code is ErrorCode.SCOPES_MISSING:
            return Check("token", CheckState.MEND, str(trouble), _CLICKS)
        case _:
            mend = "Set HUBSPOT_API_KEY to a valid private app token or service key."
            return Check("token", CheckState.MEND, str(trouble), mend)


def _not_asked(*what: str) -> list[Check]:
    return [Check(about, CheckState.UNKNOWN, "not without HubSpot") for about in what]


def _scopes(client: HubSpotClient, token: str) -> Check:
    try:
        held = client.scopes(token)
    except HubSpotSyncError as refusal:
        return Check("scopes", CheckState.UNKNOWN, f"HubSpot does not tell them: {refusal}")
    missing = [scope for scope in NEEDED_SCOPES if scope not in held]
    if missing:
        return Check("scopes", CheckState.MEND, f"missing: {', '.join(missing)}", _CLICKS)
    return Check("scopes", CheckState.OK, ", ".join(NEEDED_SCOPES))


def _properties(client: HubSpotClient, mapping: PropertyMapping) -> list[Check]:
    wanted = mapping.custom_properties
    try:
        found = client.read_properties([custom.name for custom in wanted])
    except Unavailable as trouble:
        mend = "Look at https://status.hubspot.com, and run doctor again."
        return [Check("properties", CheckState.UNREACHABLE, f"no usable answer: {trouble}", mend)]
    except HubSpotSyncError as refusal:
        return [Check("properties", CheckState.MEND, str(refusal), _CLICKS)]
    checks = []
    for custom in wanted:
        if custom.name not in found:
            words, mend = f"{custom.name} does not exist", "Run hubspot-sync create-properties."
            checks.append(Check("properties", CheckState.MEND, words, mend))
        elif unlike := differences(custom, found[custom.name]):
            words = f"{custom.name}: {'; '.join(unlike)}"
            mend = "Correct it in HubSpot (Settings, Properties), or name another."
            checks.append(Check("properties", CheckState.MEND, words, mend))
        else:
            checks.append(Check("properties", CheckState.OK, f"{custom.name}, {custom.type}"))
    return checks


def _quota(pace: Pace, reserve_percent: int) -> Check:
    quota = pace.quota
    if quota is None:
        return Check("quota", CheckState.UNKNOWN, "HubSpot does not tell the day's quota")
    words = f"{quota.remaining:,} of {quota.most:,} requests left today"
    if quota.is_down_to(reserve_percent):
        mend = "Wait for midnight in the portal's time zone, or find what uses them up."
        return Check("quota", CheckState.MEND, words, mend)
    return Check("quota", CheckState.OK, words)
