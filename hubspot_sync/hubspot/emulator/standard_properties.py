"""The contact properties that every account has from the start, as many as are of use here.

Types and labels are those of a portal's published list. The options of hs_lead_status and of the
stages were seen; those of numemployees and hs_buying_role are from memory.
"""

from hubspot_sync.hubspot.emulator.answers import Json
from hubspot_sync.hubspot.emulator.definitions import STAGES, full_definition, modification

_TEXTS = {
    "email": "Email",
    "firstname": "First Name",
    "lastname": "Last Name",
    "address": "Street Address",
    "annualrevenue": "Annual Revenue",
    "city": "City",
    "company": "Company Name",
    "company_size": "Company size",
    "country": "Country/Region",
    "date_of_birth": "Date of birth",
    "degree": "Degree",
    "industry": "Industry",
    "jobtitle": "Job Title",
    "military_status": "Military status",
    "relationship_status": "Relationship Status",
    "salutation": "Salutation",
    "school": "School",
    "seniority": "Seniority",
    "start_date": "Start date",
    "state": "State/Region",
    "website": "Website URL",
    "zip": "Postal Code",
}
_MOMENT = {"type": "datetime", "fieldType": "date"}
_NUMBER = {"type": "number", "fieldType": "number"}
_PHONE = {"fieldType": "phonenumber"}
_LEAD_STATUSES = (
    *("NEW", "OPEN", "IN_PROGRESS", "OPEN_DEAL", "UNQUALIFIED", "ATTEMPTED_TO_CONTACT"),
    *("CONNECTED", "BAD_TIMING"),
)
_SIZES = ("1-5", "5-25", "25-50", "50-100", "100-500", "500-1000", "1000+")
_ROLES = (
    *("BLOCKER", "BUDGET_HOLDER", "CHAMPION", "DECISION_MAKER", "END_USER", "EXECUTIVE_SPONSOR"),
    *("INFLUENCER", "LEGAL_AND_COMPLIANCE", "OTHER"),
)
# Reports differ on whether additional emails can be written; nothing here needs them to be.
_READ_ONLY: dict[str, Json] = {
    "hs_additional_emails": {"type": "enumeration", "fieldType": "checkbox"},
    "createdate": _MOMENT,
    "lastmodifieddate": _MOMENT,
    "hs_object_id": _NUMBER,
}


def standard_definitions(now: float) -> dict[str, Json]:
    """Return HubSpot's own properties."""
    properties: dict[str, Json] = {
        **{name: {"label": label} for name, label in _TEXTS.items()},
        "phone": {"label": "Phone Number", **_PHONE},
        "mobilephone": {"label": "Mobile Phone Number", **_PHONE},
        "message": {"label": "Message", "fieldType": "textarea"},
        "closedate": {"label": "Close Date", **_MOMENT},
        "hs_lead_status": {"label": "Lead Status", **_choice("radio", _LEAD_STATUSES)},
        "numemployees": {"label": "Number of Employees", **_choice("select", _SIZES)},
        "hs_buying_role": {"label": "Buying Role", **_choice("checkbox", _ROLES)},
        "lifecyclestage": {"label": "Lifecycle Stage", **_choice("radio", STAGES)},
        **_READ_ONLY,
    }
    for name, given in properties.items():
        rights = modification(writable=name not in _READ_ONLY, ours=False)
        ours = {"name": name, "hubspotDefined": True, "modificationMetadata": rights}
        properties[name] = full_definition(given | ours, now)
    return properties


def _choice(field_type: str, values: tuple[str, ...]) -> Json:
    options = [{"label": _label(value), "value": value} for value in values]
    return {"type": "enumeration", "fieldType": field_type, "options": options}


def _label(value: str) -> str:
    return value.replace("_", " ").title()
