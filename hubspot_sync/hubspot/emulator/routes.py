"""Which method and path lead to which endpoint, and which scopes they take."""

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote_plus

from hubspot_sync.hubspot.emulator.account import READ, SCHEMA_READ, SCHEMA_WRITE, WRITE, Account
from hubspot_sync.hubspot.emulator.account_endpoints import AccountEndpoints
from hubspot_sync.hubspot.emulator.answers import Answer, ApiError
from hubspot_sync.hubspot.emulator.batch_endpoints import BatchEndpoints
from hubspot_sync.hubspot.emulator.contact_endpoints import ContactEndpoints
from hubspot_sync.hubspot.emulator.control_endpoints import ControlEndpoints
from hubspot_sync.hubspot.emulator.portal import Portal
from hubspot_sync.hubspot.emulator.property_endpoints import PropertyEndpoints
from hubspot_sync.hubspot.emulator.records import Records
from hubspot_sync.hubspot.emulator.request import Request

CONTROL = "/_emulator/"
_OBJECTS = r"/crm/(?:v3/objects|objects/(?P<version>\d{4}-\d\d))/contacts"
_PROPERTIES = r"/crm/(?:v3/properties|properties/(?P<version>\d{4}-\d\d))/contacts"
_KEY = r"/(?P<key>[^/]+)"
_LIMITS = r"/crm/(?:v3/limits|limits/(?P<version>\d{4}-\d\d))/records"
_ACCOUNT = r"/account-info/(?:v3|\d{4}-\d\d)/details"
_KEY_INFO = "/oauth/v2/private-apps/get/access-token-info"


class Route(NamedTuple):
    """An endpoint; the token needs one of the scopes, or is not asked for where they are None."""

    method: str
    pattern: str
    scopes: frozenset[str] | None
    action: Callable[[Request], Answer]
    is_search: bool = False


class Routes:
    """The endpoints of one account."""

    def __init__(self, account: Account, portal: Portal) -> None:
        records = Records(account, portal)
        contacts = ContactEndpoints(account, portal, records)
        batches = BatchEndpoints(account, portal, records)
        properties = PropertyEndpoints(account, portal)
        about = AccountEndpoints(account, portal)
        control = ControlEndpoints(account)
        self._routes = (
            Route("GET", _OBJECTS, READ, contacts.list_contacts),
            Route("POST", _OBJECTS, WRITE, contacts.create_contact),
            Route("POST", _OBJECTS + "/search", READ, contacts.search_contacts, is_search=True),
            Route("GET", _OBJECTS + _KEY, READ, contacts.read_contact),
            Route("PATCH", _OBJECTS + _KEY, WRITE, contacts.update_contact),
            Route("DELETE", _OBJECTS + _KEY, WRITE, contacts.delete_contact),
            Route("POST", _OBJECTS + "/batch/read", READ, batches.read_contacts),
            Route("POST", _OBJECTS + "/batch/create", WRITE, batches.create_contacts),
            Route("POST", _OBJECTS + "/batch/update", WRITE, batches.update_contacts),
            Route("POST", _OBJECTS + "/batch/upsert", WRITE, batches.upsert_contacts),
            Route("GET", _PROPERTIES, SCHEMA_READ, properties.list_properties),
            Route("POST", _PROPERTIES, SCHEMA_WRITE, properties.create_property),
            Route("GET", _PROPERTIES + _KEY, SCHEMA_READ, properties.read_property),
            Route("DELETE", _PROPERTIES + _KEY, SCHEMA_WRITE, properties.archive_property),
            Route("POST", _PROPERTIES + "/batch/read", SCHEMA_READ, properties.read_batch),
            Route("POST", _PROPERTIES + "/batch/create", SCHEMA_WRITE, properties.create_batch),
            Route("GET", _LIMITS, READ, about.record_limits),
            Route("GET", _ACCOUNT, frozenset(), about.account_details),
            Route("POST", _KEY_INFO, None, about.token_info),
            Route("GET", CONTROL + "contacts", None, control.show_contacts),
            Route("POST", CONTROL + "contacts", None, control.add_contact),
            Route("PATCH", CONTROL + "contacts" + _KEY, None, control.edit_contact),
            Route("DELETE", CONTROL + "contacts" + _KEY, None, control.delete_contact),
            Route("POST", CONTROL + "merges", None, control.merge_contacts),
            Route("POST", CONTROL + "faults", None, control.add_fault),
            Route("DELETE", CONTROL + "faults", None, control.clear_faults),
            Route("GET", CONTROL + "requests", None, control.show_requests),
        )

    def of(self, request: Request) -> Route:
        """Return the endpoint of a request, whose version and key it reads from the path."""
        path, action = request.path.partition("?")[0], _no_such_path
        for route in self._routes:
            match = re.fullmatch(route.pattern, path)
            if match and route.method == request.method:
                request.version = match.groupdict().get("version") or ""
                # A plus that is not encoded means a space: clients have to encode it.
                request.key = unquote_plus(match.groupdict().get("key") or "")
                return route
            action = _no_such_method if match else action
        return Route(request.method, path, frozenset(), action)


def _no_such_path(_: Request) -> Answer:
    raise ApiError(404, "Unable to find a route that matches the request")


def _no_such_method(_: Request) -> Answer:
    raise ApiError(405, "HTTP 405 Method Not Allowed")
