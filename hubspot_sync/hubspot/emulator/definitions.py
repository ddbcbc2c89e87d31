"""How HubSpot defines a property, and the properties that every account has from the start."""

from collections.abc import Mapping

from hubspot_sync.hubspot.emulator.answers import Json, iso

# In the order in which a contact moves through them.
STAGES = (
    *("subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead"),
    *("opportunity", "customer", "evangelist", "other"),
)
# What a read shows that asks for nothing; a new contact needs one of them.
DEFAULT_PROPERTIES = ("email", "firstname", "lastname")
# What every answer shows besides.
ALWAYS_SHOWN = ("createdate", "hs_object_id", "lastmodifieddate")


def full_definition(given: Mapping[str, object], now: float) -> Json:
    """Fill in what a property's definition leaves out, as HubSpot does."""
    return {
        "label": given["name"],
        "type": "string",
        "fieldType": "text",
        "description": "",
        "groupName": "contactinformation",
        "options": [],
        "displayOrder": -1,
        **dict.fromkeys(("calculated", "externalOptions", "formField", "hasUniqueValue"), False),
        **dict.fromkeys(("hidden", "hubspotDefined", "archived"), False),
        "modificationMetadata": _modification(writable=True),
        "createdAt": iso(now),
        "updatedAt": iso(now),
        **given,
    }


def standard_definitions(now: float) -> dict[str, Json]:
    """Return HubSpot's own properties, as many as a contact needs here."""
    stages = [{"label": stage.title(), "value": stage, "hidden": False} for stage in STAGES]
    moment = {"type": "datetime", "fieldType": "date"}
    # Reports differ on whether additional emails can be written; nothing here needs them to be.
    read_only: dict[str, Json] = {
        "hs_additional_emails": {"type": "enumeration", "fieldType": "checkbox"},
        "createdate": moment,
        "lastmodifieddate": moment,
        "hs_object_id": {"type": "number", "fieldType": "number"},
    }
    properties: dict[str, Json] = {
        **{name: {} for name in ("email", "firstname", "lastname", "phone", "company", "website")},
        "lifecyclestage": {"type": "enumeration", "fieldType": "radio", "options": stages},
        **read_only,
    }
    for name, given in properties.items():
        modification = _modification(writable=name not in read_only, ours=False)
        ours = {"name": name, "hubspotDefined": True, "modificationMetadata": modification}
        properties[name] = full_definition(given | ours, now)
    return properties


def _modification(*, writable: bool, ours: bool = True) -> Json:
    return {"archivable": ours, "readOnlyDefinition": not ours, "readOnlyValue": not writable}
