"""Contacts as the API writes and shows them: what is checked before a portal takes a value."""

from collections.abc import Iterable, Mapping, Sequence

from hubspot_sync.hubspot.emulator.account import Account
from hubspot_sync.hubspot.emulator.answers import ApiError, Json, Problem, invalid, iso
from hubspot_sync.hubspot.emulator.definitions import ALWAYS_SHOWN, DEFAULT_PROPERTIES, STAGES
from hubspot_sync.hubspot.emulator.portal import Contact, Portal
from hubspot_sync.hubspot.emulator.values import InvalidValueError, reformatted_phone, stored_value


class Records:
    """The one way by which endpoints, single and batch, create, update and show contacts."""

    def __init__(self, account: Account, portal: Portal) -> None:
        self._account = account
        self._portal = portal

    def shown(self, contact: Contact, names: Iterable[str], history: Sequence[str] = ()) -> Json:
        """Return the record with the properties asked for, unknown ones passed over."""
        live = [name for name in (*names, *ALWAYS_SHOWN) if name in self._portal.properties]
        portal = self._account.portal_id
        return {
            "id": contact.id,
            "properties": {name: contact.value(name) for name in live},
            **({"propertiesWithHistory": self._history(contact, history)} if history else {}),
            "createdAt": iso(contact.created_at),
            "updatedAt": iso(contact.updated_at),
            "archived": False,
            "url": f"https://app.hubspot.com/contacts/{portal}/record/0-1/{contact.id}",
        }

    def create(self, properties: Mapping[str, str], version: str) -> Contact:
        """Create a contact, or refuse it for what it lacks, for its values or its email."""
        values, now = self._checked(properties, {}), self._account.clock()
        # The older versions pass over what an administrator has made required.
        required = self._portal.required if version >= "2026-09" else ()
        missing = sorted(name for name in required if not values.get(name))
        if missing:
            # Status and code are documented, the rest is not.
            code = "MISSING_REQUIRED_PROPERTY"
            raise invalid("", problems=[Problem(p, code, f'"{p}" is required') for p in missing])
        if not any(values.get(name) for name in DEFAULT_PROPERTIES):
            raise invalid("A contact needs an email, a firstname or a lastname")
        self._refuse_taken(values.get("email"), owner=None)
        quota = self._account.contact_quota
        if quota is not None and len(self._portal.contacts) >= quota:
            # Nobody has published what HubSpot says here.
            raise invalid(f"This account has reached its limit of {quota} contacts")
        source, searchable_at = self._account.integration(), now + self._account.search_lag
        return self._portal.add(values, (), now, source, searchable_at=searchable_at)

    def update(self, contact: Contact, properties: Mapping[str, str]) -> Contact:
        """Change the properties given and no others; an empty string clears."""
        values = self._checked(properties, contact.properties)
        stage, new_stage = contact.value("lifecyclestage"), values.get("lifecyclestage")
        if stage and new_stage and STAGES.index(new_stage) < STAGES.index(stage):
            # A stage moves forward only; HubSpot keeps the old one and answers success.
            del values["lifecyclestage"]
        self._refuse_taken(values.get("email"), owner=contact.id)
        account = self._account
        now, source = account.clock(), account.integration()
        return self._portal.change(contact, values, now, source, account.history_limit)

    def _history(self, contact: Contact, names: Iterable[str]) -> dict[str, list[Json]]:
        """Return the histories asked for, those of properties that never held a value left out.

        Whether HubSpot leaves them out is not documented.
        """
        limit = self._account.history_limit
        live = [name for name in names if name in self._portal.properties]
        histories = {name: contact.history(name, limit) for name in live}
        return {name: found for name, found in histories.items() if found}

    def _checked(self, properties: Mapping[str, str], held: Mapping[str, str]) -> dict[str, str]:
        """Return the values as they are stored, or refuse them all, naming each problem.

        `held` is what the record holds already, to which checkboxes can be added.
        """
        values: dict[str, str] = {}
        problems: list[Problem] = []
        for name, value in properties.items():
            try:
                values[name] = self._value(name, value, held.get(name, ""))
            except InvalidValueError as error:
                problems.append(Problem(name, *error.args))
        if problems:
            raise invalid("", problems=problems)
        return values

    def _value(self, name: str, value: str, held: str) -> str:
        definition = self._portal.properties.get(name)
        if definition is None:
            message = f'Property "{name}" does not exist'
            raise InvalidValueError("PROPERTY_DOESNT_EXIST", message)
        if definition["modificationMetadata"]["readOnlyValue"]:
            message = f'"{name}" is a read only property; its value cannot be set.'
            raise InvalidValueError("READ_ONLY_VALUE", message)
        stored = stored_value(definition, value, held) if value else ""
        if definition["fieldType"] == "phonenumber" and self._account.reformats_phones:
            stored = reformatted_phone(stored)
        if name == "email" and stored in self._portal.blocked:
            # The words are those that HubSpot's user interface looks for; the code is a guess.
            raise InvalidValueError("INVALID_EMAIL", "email has been GDPR blacklisted")
        return stored

    def _refuse_taken(self, email: str | None, *, owner: str | None) -> None:
        existing = self._portal.ids_by_email.get(email or "")
        if existing not in (None, owner):
            message = f"Contact already exists. Existing ID: {existing}"
            raise ApiError(409, message, "CONFLICT", item_context={"existingId": [str(existing)]})
