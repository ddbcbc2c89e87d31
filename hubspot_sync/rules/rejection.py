"""Contacts that are rejected before any request, for a value that their property cannot take."""

from collections.abc import Iterable

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Signature
from hubspot_sync.rules.grouping import Group
from hubspot_sync.rules.mapping import OnInvalid, PropertyMapping
from hubspot_sync.rules.portal_fit import place_of
from hubspot_sync.rules.settlement import Rejected
from hubspot_sync.sentences import Message


def rejection_of(group: Group, mapping: PropertyMapping) -> Rejected | None:
    """Return how a group ends that has a value which cannot be sent; None where it can be sent.

    It is judged after merging: the valid value of one row makes up for the invalid one of another.
    """
    if not group.invalid:
        return None
    for line in mapping.fields:
        invalid = group.invalid.get(line.property_name)
        if invalid is not None and line.on_invalid is OnInvalid.REJECT:
            told = Message(
                ErrorCode.VALUE_CANNOT_BE_SENT,
                origin=line.origin,
                property_name=line.property_name,
                why=invalid,
                place=place_of(mapping, line),
                hubspot_code=str(invalid.code),
            )
            return Rejected(told, Signature(invalid.code, line.property_name))
    return None


def usable_fields(groups: Iterable[Group], mapping: PropertyMapping) -> frozenset[str]:
    """Return the properties for which any of the groups has a value that can be sent."""
    names = frozenset(mapping.property_names)
    return names.intersection(name for group in groups for name in group.properties)
