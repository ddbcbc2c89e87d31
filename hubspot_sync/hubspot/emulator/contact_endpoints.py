"""The endpoints of one contact at a time, of lists and of searches."""

from collections.abc import Iterable

from hubspot_sync.hubspot.emulator.account import Account
from hubspot_sync.hubspot.emulator.answers import Answer, ApiError, Json, invalid, not_unique
from hubspot_sync.hubspot.emulator.portal import Contact, Portal
from hubspot_sync.hubspot.emulator.records import Records
from hubspot_sync.hubspot.emulator.request import Request, written

_LIST_PAGE_MAXIMUM = 100
_HISTORY_PAGE_MAXIMUM = 50
_SEARCH_PAGE_MAXIMUM = 200
_SEARCH_BODY_MAXIMUM = 3_000


class ContactEndpoints:
    """Each public method answers one endpoint, under the account's lock."""

    def __init__(self, account: Account, portal: Portal, records: Records) -> None:
        self._account = account
        self._portal = portal
        self._records = records

    def list_contacts(self, request: Request) -> Answer:
        """Answer the first contacts; there is no second page."""
        limit = int(request.query.get("limit", "10"))
        names, history = request.names(), request.history_names()
        # The limits are known, the words are not.
        most = _HISTORY_PAGE_MAXIMUM if history else _LIST_PAGE_MAXIMUM
        if limit > most:
            raise invalid(f"The limit must not exceed {most}")
        page = list(self._portal.contacts.values())[:limit]
        results = [self._records.shown(each, names, history) for each in page]
        return Answer(200, {"results": results})

    def create_contact(self, request: Request) -> Answer:
        """Create a contact, or refuse it where another one holds its email."""
        values = written(request.body)
        contact = self._records.create(values, request.version)
        return Answer(201, self._records.shown(contact, values))

    def read_contact(self, request: Request) -> Answer:
        """Answer one contact, by record id or by email."""
        names, history = request.names(), request.history_names()
        return Answer(200, self._records.shown(self._addressed(request), names, history))

    def update_contact(self, request: Request) -> Answer:
        """Change the values given and no others."""
        contact, values = self._addressed(request), written(request.body)
        return Answer(200, self._records.shown(self._records.update(contact, values), values))

    def delete_contact(self, request: Request) -> Answer:
        """Delete a contact, which may be gone already."""
        self._portal.remove(request.key)
        return Answer(204)

    def search_contacts(self, request: Request) -> Answer:
        """Answer the contacts that match all filters of any one group."""
        if len(request.text) > _SEARCH_BODY_MAXIMUM:
            raise invalid("The body of a search must not exceed 3,000 characters")
        limit = int(request.body.get("limit", 10))
        if limit > _SEARCH_PAGE_MAXIMUM:
            raise invalid(f"The limit must not exceed {_SEARCH_PAGE_MAXIMUM}")
        groups = request.body.get("filterGroups") or [{"filters": []}]
        found = {each.id: each for group in groups for each in self._matching(group["filters"])}
        page = list(found.values())[:limit]
        results = [self._records.shown(each, request.names()) for each in page]
        return Answer(200, {"total": len(found), "results": results})

    def _addressed(self, request: Request) -> Contact:
        """Return the contact that a path names, by record id or by email."""
        match request.query.get("idProperty"):
            case "email":
                contact = self._portal.find_by_email(request.key)
            case None if request.key.isdigit():
                contact = self._portal.find(request.key)
            case None:
                message = "Object not found.  objectId are usually numeric."
                raise ApiError(404, message, "OBJECT_NOT_FOUND", context={"id": [request.key]})
            case other:
                raise not_unique(other, self._account.portal_id)
        if contact is None:
            raise ApiError(404, "resource not found")
        return contact

    def _matching(self, filters: Iterable[Json]) -> list[Contact]:
        """Return the contacts that all filters match and the search index has taken in."""
        contacts: Iterable[Contact] = self._portal.contacts.values()
        for each in filters:
            name, wanted = each.get("propertyName", ""), _wanted(each)
            if name not in self._portal.properties:
                raise invalid(f'Property "{name}" does not exist')
            if name == "email":
                # By index, or a large portal would be slow here where HubSpot is not.
                owners = [self._portal.find_by_email(email) for email in wanted]
                ids = {owner.id for owner in owners if owner is not None}
                contacts = [self._portal.contacts[each] for each in sorted(ids)]
            contacts = [contact for contact in contacts if wanted & self._found_by(contact, name)]
        now = self._account.clock()
        return [contact for contact in contacts if contact.searchable_at <= now]

    def _found_by(self, contact: Contact, name: str) -> set[str]:
        if name == "hs_additional_emails":
            return set(contact.additional_emails)
        if name == "email" and self._account.search_finds_secondary:
            return set(contact.emails())
        return {(contact.value(name) or "").lower()} - {""}


def _wanted(search_filter: Json) -> set[str]:
    match search_filter.get("operator"):
        case "EQ":
            return {str(search_filter.get("value", "")).lower()}
        case "IN":
            # HubSpot wants these in lower case, and finds nothing otherwise.
            return set(search_filter.get("values", ()))
        case operator:
            raise invalid(f"The emulator does not know the operator {operator}")
