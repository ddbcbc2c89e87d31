"""How HubSpot defines a property, and which definitions it refuses."""

import re
from collections.abc import Iterable, Mapping, Sequence

from hubspot_sync.hubspot.emulator.answers import ApiError, Json, bad_json, invalid, iso

# In the order in which a contact moves through them.
STAGES = (
    *("subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead"),
    *("opportunity", "customer", "evangelist", "other"),
)
# What a read shows that asks for nothing; a new contact needs one of them.
DEFAULT_PROPERTIES = ("email", "firstname", "lastname")
# What every answer shows besides.
ALWAYS_SHOWN = ("createdate", "hs_object_id", "lastmodifieddate")
# Documented: what may be created, and with which types of field. HubSpot's own properties have
# others besides, such as json.
FIELD_TYPES = {
    "string": ("text", "textarea", "html", "phonenumber", "file", "calculation_equation"),
    "number": ("number", "calculation_equation"),
    "bool": ("booleancheckbox",),
    "date": ("date",),
    "datetime": ("date",),
    "enumeration": ("select", "radio", "checkbox", "booleancheckbox"),
    "phone_number": ("phonenumber",),
}
_ALL_FIELD_TYPES = frozenset(each for kinds in FIELD_TYPES.values() for each in kinds)
_NEEDED = ("name", "label", "type", "fieldType", "groupName")
_YES_OR_NO = ({"label": "Yes", "value": "true"}, {"label": "No", "value": "false"})


def full_definition(given: Mapping[str, object], now: float) -> Json:
    """Fill in what a property's definition leaves out, as HubSpot does."""
    definition: Json = {
        "label": given["name"],
        "type": "string",
        "fieldType": "text",
        "description": "",
        "groupName": "contactinformation",
        "options": _YES_OR_NO if given.get("type") == "bool" else [],
        "displayOrder": -1,
        **dict.fromkeys(("calculated", "externalOptions", "formField", "hasUniqueValue"), False),
        **dict.fromkeys(("hidden", "hubspotDefined", "archived"), False),
        "modificationMetadata": modification(writable=True),
        "createdAt": iso(now),
        "updatedAt": iso(now),
        **given,
    }
    definition["options"] = [_full_option(option) for option in definition["options"]]
    return definition


def modification(*, writable: bool, ours: bool = True) -> Json:
    """Return what may be done to a property: ours can be archived, HubSpot's own cannot."""
    return {"archivable": ours, "readOnlyDefinition": not ours, "readOnlyValue": not writable}


def refuse_unreadable_definition(definition: Json) -> None:
    """Refuse a type that HubSpot does not know, which refuses a whole batch with it.

    Seen: that the parser refuses it, and how its words begin. The rest of them is a guess.
    """
    for name, known in (("type", FIELD_TYPES.keys()), ("fieldType", _ALL_FIELD_TYPES)):
        given = definition.get(name)
        if given and given not in known:
            names = ", ".join(sorted(known))
            raise bad_json(
                f'Cannot deserialize value of type `{name}` from String "{given}": '
                f"value not one of declared Enum instance names: [{names}]"
            )


def refuse_bad_definition(definition: Json) -> None:
    """Refuse to create a property that HubSpot would not.

    Documented: the needed fields, the types that go together, that an enumeration needs options
    and that names are lower case. Seen: the code for the options of a bool. The words are guesses.
    """
    _refuse_unset(definition, _NEEDED)
    name, kind, field_type = (definition[each] for each in ("name", "type", "fieldType"))
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name):
        raise invalid(f"The name '{name}' is not valid")
    if field_type not in FIELD_TYPES[kind]:
        raise invalid(f"The field type '{field_type}' is not valid for the type '{kind}'")
    options: Sequence[Json] = definition.get("options") or ()
    for option in options:
        _refuse_unset(option, ("label", "value"))
    values = [option["value"] for option in options]
    if kind == "bool" and sorted(values) != ["false", "true"]:
        code = "Properties.INVALID_BOOLEAN_OPTION"
        raise invalid("A bool needs exactly the options true and false", subCategory=code)
    if kind == "enumeration" and not (values or definition.get("externalOptions")):
        raise invalid(f"The enumeration '{name}' needs options")
    if len(set(values)) < len(values):
        raise invalid(f"The options of '{name}' repeat a value")


def no_property(name: str) -> ApiError:
    """Refuse a name that no live property has."""
    message = f'Property "{name}" does not exist'
    return ApiError(404, message, "OBJECT_NOT_FOUND", item_context={"name": [name]})


def _refuse_unset(given: Json, needed: Iterable[str]) -> None:
    unset = [name for name in needed if not given.get(name)]
    if unset:
        message = f"Some required fields were not set: [{', '.join(unset)}]"
        raise invalid(f"Invalid input JSON on line 1, column 2. {message}")


def _full_option(given: Mapping[str, object]) -> Json:
    usual = {"label": given["value"], "description": "", "displayOrder": -1, "hidden": False}
    return {**usual, **given}
