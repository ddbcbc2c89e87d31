"""What HubSpot's successes hold, checked against what their endpoints promise."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Unavailable
from hubspot_sync.rules.accounting import Success
from hubspot_sync.rules.identity import HubSpotRecord, is_record_id
from hubspot_sync.rules.mapping import PropertyDefinition


@dataclass(frozen=True, slots=True)
class Account:
    """A portal as HubSpot describes it.

    Attributes:
        portal_id: its number.
        account_type: such as `STANDARD`, `SANDBOX` or `DEVELOPER_TEST`.
        zone: its time zone, whose midnight begins the day of its daily limit.
    """

    portal_id: str
    account_type: str
    zone: tzinfo


def require_email(record: HubSpotRecord, email: str | None) -> None:
    """Raise where HubSpot answers a create with a contact that shows other addresses alone."""
    if record.emails and email not in record.emails:
        raise not_promised("the contact")


def to_record(entry: object) -> HubSpotRecord:
    """Return the record that an entry shows."""
    if isinstance(entry, Mapping):
        contact_id, properties = entry.get("id"), entry.get("properties")
        if is_record_id(str(contact_id)) and isinstance(properties, Mapping):
            known = {str(name): str(value) for name, value in properties.items() if value}
            return HubSpotRecord(str(contact_id), known)
    raise not_promised("a contact")


def to_successes(body: Mapping[str, object], what: str) -> list[Success]:
    """Return the records of a batch answer, each with its trace id where it has one."""
    results = body.get("results")
    if not isinstance(results, list):
        raise not_promised(what)
    return [Success(to_record(entry), _trace_id(entry)) for entry in results]


def _trace_id(entry: object) -> str | None:
    trace_id = entry.get("objectWriteTraceId") if isinstance(entry, Mapping) else None
    return trace_id if isinstance(trace_id, str) else None


def to_texts(value: object) -> tuple[str, ...]:
    """Return a list of texts, without what is none."""
    values = value if isinstance(value, list) else [value]
    return tuple(str(each) for each in values if isinstance(each, str | int))


def to_definition(entry: object) -> PropertyDefinition:
    """Return a property's definition."""
    if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
        metadata = entry.get("modificationMetadata")
        return PropertyDefinition(
            name=str(entry["name"]),
            type=str(entry.get("type")),
            field_type=str(entry.get("fieldType")),
            read_only=isinstance(metadata, Mapping) and metadata.get("readOnlyValue") is True,
            options=_options(entry.get("options")),
            archived=entry.get("archived") is True,
        )
    raise not_promised("a property")


def _options(listed: object) -> tuple[str, ...]:
    """Return the internal values of a property's options."""
    options = listed if isinstance(listed, list) else []
    return tuple(
        str(each["value"]) for each in options if isinstance(each, Mapping) and "value" in each
    )


def not_promised(what: str) -> Unavailable:
    """Return the error for a success that lacks what its endpoint promises."""
    return Unavailable(ErrorCode.ANSWER_INCOMPLETE, what=what, outcome_unknown=True)


def to_zone(account: Mapping[str, object]) -> tzinfo | None:
    """Return the portal's time zone; None where the answer does not tell it."""
    try:
        return ZoneInfo(str(account.get("timeZone")))
    except (ZoneInfoNotFoundError, ValueError):
        # This machine does not know the zone; today's offset is right but for two days a year.
        offset = account.get("utcOffsetMilliseconds")
    return timezone(timedelta(milliseconds=offset)) if isinstance(offset, int) else None
