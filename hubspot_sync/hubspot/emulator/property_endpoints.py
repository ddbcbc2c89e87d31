"""The endpoints of the properties that contacts have."""

from hubspot_sync.hubspot.emulator.account import Account
from hubspot_sync.hubspot.emulator.answers import Answer, ApiError, Json, batch_answer, invalid
from hubspot_sync.hubspot.emulator.definitions import (
    no_property,
    refuse_bad_definition,
    refuse_unreadable_definition,
)
from hubspot_sync.hubspot.emulator.portal import Portal
from hubspot_sync.hubspot.emulator.request import Request


class PropertyEndpoints:
    """Each public method answers one endpoint, under the account's lock."""

    def __init__(self, account: Account, portal: Portal) -> None:
        self._account = account
        self._portal = portal

    def list_properties(self, request: Request) -> Answer:
        """Answer the definitions of all properties, or of the archived ones."""
        return Answer(200, {"results": list(self._shelf(request.query.get("archived")).values())})

    def read_property(self, request: Request) -> Answer:
        """Answer the definition of one property."""
        found = self._shelf(request.query.get("archived")).get(request.key)
        if found is None:
            raise no_property(request.key)
        return Answer(200, found)

    def create_property(self, request: Request) -> Answer:
        """Define a property; one that was archived comes back."""
        refuse_unreadable_definition(request.body)
        return Answer(201, self._define(request.body))

    def archive_property(self, request: Request) -> Answer:
        """Archive a property, unless it is HubSpot's own."""
        if request.key not in self._portal.properties:
            raise no_property(request.key)
        if self._portal.properties[request.key]["hubspotDefined"]:
            raise invalid(f"Property '{request.key}' is defined by HubSpot")
        self._portal.archive(request.key, self._account.clock())
        return Answer(204)

    def read_batch(self, request: Request) -> Answer:
        """Answer the definitions of these names, and name what is missing."""
        shelf = self._shelf(request.body.get("archived"))
        names = [str(item.get("name")) for item in request.inputs]
        errors = [
            no_property(name).item(self._account.portal_id) for name in names if name not in shelf
        ]
        results = [shelf[name] for name in names if name in shelf]
        return batch_answer(results, errors, self._account.clock())

    def create_batch(self, request: Request) -> Answer:
        """Define what can be defined, and say of the rest why not."""
        results, errors = [], []
        for definition in request.inputs:
            refuse_unreadable_definition(definition)
        for definition in request.inputs:
            try:
                results.append(self._define(definition))
            except ApiError as error:
                errors.append(error.item(self._account.portal_id))
        return batch_answer(results, errors, self._account.clock(), done=201)

    def _shelf(self, archived: object) -> dict[str, Json]:
        return self._portal.archived if archived in (True, "true") else self._portal.properties

    def _define(self, definition: Json) -> Json:
        refuse_bad_definition(definition)
        name = definition["name"]
        if name in self._portal.properties:
            raise ApiError(
                409,
                f"A property named '{name}' already exists.",
                "OBJECT_ALREADY_EXISTS",
                item_context={"name": [name]},
                subCategory="Properties.PROPERTY_WITH_NAME_EXISTS",
            )
        return self._portal.define(definition, self._account.clock())
