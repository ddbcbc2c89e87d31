"""HubSpot's contacts and properties API in memory, over real HTTP, for the demo and for tests.

From top to bottom: refusals, requests, property values, the portal (all state), the endpoints,
faults, the emulator, the server. To add an endpoint: a method of `_Api` and a line in `_ROUTES`.

It answers as HubSpot is documented or was seen to answer; a comment says so where neither helps.
Where HubSpot promises nothing it is the unkind one: batch results come back in reverse order, and
a JSON null is refused. Not emulated: paging, sorts, full-text queries, search operators besides
EQ and IN, property history, associations, reading archived contacts.
"""

import contextlib
import json
import re
import socket
import socketserver
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote_plus
from uuid import uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_Json = dict[str, Any]

_READ = frozenset({"crm.objects.contacts.read"})
_WRITE = frozenset({"crm.objects.contacts.write"})
_SCHEMA_WRITE = frozenset({"crm.schemas.contacts.write"})
_SCHEMA_READ = _READ | _WRITE | {"crm.schemas.contacts.read"}
_ALL_SCOPES = _SCHEMA_READ | _SCHEMA_WRITE

_BATCH_MAXIMUM = 100
_STRING_MAXIMUM = 65_536
_CONTACT_MAXIMUM = 15_000_000
_LIST_PAGE_MAXIMUM = 100
_SEARCH_PAGE_MAXIMUM = 200
_SEARCH_BODY_MAXIMUM = 3_000
_DAY_MS = 86_400_000
_BURST_SECONDS = 10
_STAGES = (
    *("subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead"),
    *("opportunity", "customer", "evangelist", "other"),
)
_DEFAULT_PROPERTIES = ("email", "firstname", "lastname")
_ALWAYS_SHOWN = ("createdate", "hs_object_id", "lastmodifieddate")
_TRACE = "objectWriteTraceId"

# What a body of the wrong shape raises; instead of a check for each, they are HubSpot's 400.
_MISFITS = (AttributeError, KeyError, TypeError, ValueError, re.error)


class _Answer(NamedTuple):
    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class _Problem(NamedTuple):
    """What is wrong with one property of one contact."""

    name: str
    error: str
    message: str


class _ApiError(Exception):
    """A refusal, which can answer a whole request or be one item of a 207."""

    def __init__(
        self,
        status: int,
        message: str,
        category: str | None = None,
        *,
        problems: Sequence[_Problem] = (),
        item_context: Mapping[str, list[str]] | None = None,
        **more: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.category = {"category": category} if category else {}
        self.problems = problems
        self.item_context = item_context or {}
        self.more = more

    def answer(self) -> _Answer:
        """Answer the request: both `message` and `errors` name the problems."""
        body: _Json = {"status": "error", "message": self.message, "correlationId": str(uuid4())}
        if self.problems:
            body["message"] = self._problems_text({})
            body["errors"] = [
                {"message": message, "code": error, "context": {"propertyName": [name]}}
                for name, error, message in dict.fromkeys(self.problems)
            ]
        return _Answer(self.status, body | self.more | self.category)

    def item(self, portal_id: int, trace_id: str | None = None) -> _Json:
        """Return one of the errors of a 207, where only the message's text names the problems."""
        message = self._problems_text({"portalId": portal_id}) if self.problems else self.message
        traced = {"objectWriteTraceId": [trace_id]} if trace_id else {}
        item = {"status": "error", **self.category, "message": message, **self.more}
        return {**item, "context": {**self.item_context, **traced}}

    def _problems_text(self, extra: _Json) -> str:
        problems = [
            {"isValid": False, "message": message, "error": error, "name": name}
            | ({"localizedErrorMessage": message, **extra} if extra else {})
            for name, error, message in self.problems
        ]
        return "Property values were not valid: " + json.dumps(problems, separators=(",", ":"))


def _invalid(message: str, **more: Any) -> _ApiError:
    return _ApiError(400, message, "VALIDATION_ERROR", **more)


def _bad_json(reason: str, *, line: int = 1, column: int = 1) -> _ApiError:
    # HubSpot's parser errors are the one kind of 400 that carries no category.
    return _ApiError(400, f"Invalid input JSON on line {line}, column {column}: {reason}")


def _unauthenticated() -> _ApiError:
    message = (
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and "
        "you can find more details at https://developers.hubspot.com/docs/methods/auth/"
        "oauth-overview"
    )
    return _ApiError(401, message, "INVALID_AUTHENTICATION")


def _missing_scopes(scopes: Iterable[str]) -> _ApiError:
    message = (
        "This app hasn't been granted all required scopes to make this call. Read more about "
        "required scopes here: https://developers.hubspot.com/scopes."
    )
    detail = {
        "message": "One or more of the following scopes are required.",
        "context": {"requiredGranularScopes": sorted(scopes)},
    }
    return _ApiError(403, message, "MISSING_SCOPES", errors=[detail])


def _too_many_requests(policy: str) -> _ApiError:
    limit: _Json = {"errorType": "RATE_LIMIT", "policyName": policy}
    limit |= {"requestId": str(uuid4())} if policy == "DAILY" else {"groupName": "publicapi"}
    return _ApiError(429, f"You have reached your {policy.lower()} limit.", **limit)


def _usual_answer(status: int, policy: str, scopes: Iterable[str]) -> _Answer:
    """Return what HubSpot usually says with a status."""
    if status < 400:
        return _Answer(status, {})
    if status > 500:
        # The proxy in front of HubSpot answers these, and it speaks HTML.
        return _Answer(status, f"<html><body><h1>Error {status}</h1></body></html>")
    usual = {
        401: _unauthenticated(),
        403: _missing_scopes(scopes),
        404: _ApiError(404, "resource not found"),
        429: _too_many_requests(policy),
        500: _ApiError(500, "internal error"),
    }
    # The body of a 423, a 477 or another one has not been published.
    unknown = _ApiError(status, f"The request was refused with status {status}")
    return usual.get(status, unknown).answer()


@dataclass
class _Request:
    """One HTTP request; `path` is as sent, with its query string."""

    method: str
    path: str
    authorization: str
    text: str
    version: str = ""
    key: str = ""

    @cached_property
    def query(self) -> dict[str, str]:
        return {name: ",".join(v) for name, v in parse_qs(self.path.partition("?")[2]).items()}

    @cached_property
    def body(self) -> _Json:
        try:
            return dict(json.loads(self.text))
        except json.JSONDecodeError as error:
            raise _bad_json(error.msg, line=error.lineno, column=error.colno) from None

    @cached_property
    def inputs(self) -> list[_Json]:
        inputs = [dict(item) for item in self.body["inputs"]]
        if len(inputs) > _BATCH_MAXIMUM:
            raise _invalid(
                "The maximum number of inputs supported in a batch is 100. "
                "Please reduce the number of items and try again"
            )
        return inputs

    def input_count(self) -> int:
        try:
            return len(self.inputs)
        except (_ApiError, *_MISFITS):
            return 0

    def names(self) -> Sequence[str]:
        """Return the properties that a read asks for."""
        if self.method == "GET":
            asked = [name for name in self.query.get("properties", "").split(",") if name]
        else:
            asked = list(self.body.get("properties") or ())
        return asked or _DEFAULT_PROPERTIES


def _written(item: _Json) -> dict[str, str]:
    """Return an input's property values as text; HubSpot takes numbers and booleans too."""
    properties: _Json = item.get("properties", {})
    for name, value in properties.items():
        if not isinstance(value, str | int | float):
            # What a null does is not documented: better found out here than in a portal.
            raise _bad_json(f"the value of property {name} must be a string")
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in properties.items()
    }


def _refuse_duplicates(ids: Sequence[str]) -> None:
    duplicates = [key for key in dict.fromkeys(ids) if ids.count(key) > 1]
    if duplicates:
        message = f"Duplicate IDs found in batch input: [{', '.join(duplicates)}]"
        raise _invalid(f"{message}. IDs must be unique", context={"ids": duplicates})


def _normal_email(email: object) -> str:
    return str(email).strip().lower()


def _iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Which addresses HubSpot takes is not published beyond this: a top-level domain that does not
# exist is refused ('test.con'), and internationalised domains pass in both spellings.
_LOCAL_PART = r"(?a:[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*)"
_LABEL = r"[^\W_](?:(?:[^\W_]|-)*[^\W_])?"
_EMAIL = re.compile(rf"{_LOCAL_PART}@(?:{_LABEL}\.)+(?!con\Z)(?:xn--[a-z0-9-]+|[^\W\d_]{{2,}})")


class _InvalidValueError(Exception):
    """A value that HubSpot refuses: HubSpot's error code, and its message."""


def _stored(definition: _Json, value: str) -> str:
    """Return what HubSpot stores for a value, or raise `_InvalidValueError`."""
    if definition["name"] == "email":
        return _email(value)
    match definition["type"]:
        case "number" if not re.fullmatch(r"-?(\d+\.?\d*|\.\d+)", value):
            raise _InvalidValueError("INVALID_INTEGER", f"{value} was not a valid number")
        case "enumeration" | "bool":
            return _option(definition, value)
        case "date":
            return _date(value)
        case "datetime":
            return _datetime(value)
    if len(value) > _STRING_MAXIMUM:
        # The limit is documented; code and words are not.
        raise _InvalidValueError("VALUE_TOO_LONG", f"Over {_STRING_MAXIMUM} characters")
    return value


def _email(value: str) -> str:
    email = _normal_email(value)
    if len(email) > 254 or email.find("@") > 64 or not _EMAIL.fullmatch(email):
        raise _InvalidValueError("INVALID_EMAIL", f"Email address {value} is invalid")
    return email


def _option(definition: _Json, value: str) -> str:
    options = [option["value"] for option in definition["options"]]
    for chosen in value.split(";") if definition["fieldType"] == "checkbox" else [value]:
        if chosen not in options:
            message = f"{chosen} was not one of the allowed options: [{', '.join(options)}]"
            raise _InvalidValueError("INVALID_OPTION", message)
    return value


def _date(value: str) -> str:
    if _is_iso(value, r"\d{4}-\d\d-\d\d"):
        return value
    day, rest = divmod(_milliseconds(value), _DAY_MS)
    if rest:
        minutes, milliseconds = divmod(rest, 60_000)
        clock = f"{minutes // 60}:{minutes % 60}:{milliseconds // 1000}.{milliseconds % 1000:03d}"
        raise _InvalidValueError("INVALID_DATE", f"{value} is at {clock} UTC, not midnight!")
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _datetime(value: str) -> str:
    if _is_iso(value, r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z"):
        return _iso(datetime.fromisoformat(value).timestamp())
    return _iso(_milliseconds(value) / 1000)


def _is_iso(value: str, pattern: str) -> bool:
    try:
        return bool(re.fullmatch(pattern, value) and datetime.fromisoformat(value))
    except ValueError:
        return False


def _milliseconds(value: str) -> int:
    if not re.fullmatch(r"-?\d{1,13}", value):
        raise _InvalidValueError("INVALID_LONG", f"{value} was not a valid long.")
    return int(value)


def _definition(given: Mapping[str, object], now: float) -> _Json:
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
        "createdAt": _iso(now),
        "updatedAt": _iso(now),
        **given,
    }


def _modification(*, writable: bool, ours: bool = True) -> _Json:
    return {"archivable": ours, "readOnlyDefinition": not ours, "readOnlyValue": not writable}


def _standard_definitions(now: float) -> dict[str, _Json]:
    stages = [{"label": stage.title(), "value": stage, "hidden": False} for stage in _STAGES]
    moment = {"type": "datetime", "fieldType": "date"}
    # Reports differ on whether additional emails can be written; nothing here needs them to be.
    read_only: dict[str, _Json] = {
        "hs_additional_emails": {"type": "enumeration", "fieldType": "checkbox"},
        "createdate": moment,
        "lastmodifieddate": moment,
        "hs_object_id": {"type": "number", "fieldType": "number"},
    }
    properties: dict[str, _Json] = {
        **{name: {} for name in ("email", "firstname", "lastname", "phone", "company", "website")},
        "lifecyclestage": {"type": "enumeration", "fieldType": "radio", "options": stages},
        **read_only,
    }
    for name, given in properties.items():
        modification = _modification(writable=name not in read_only, ours=False)
        ours = {"name": name, "hubspotDefined": True, "modificationMetadata": modification}
        properties[name] = _definition(given | ours, now)
    return properties


@dataclass(frozen=True, slots=True)
class _Contact:
    """A record; a write replaces it, so that a refused batch is undone by putting it back."""

    id: str
    properties: dict[str, str]
    additional_emails: tuple[str, ...]
    created_at: float
    updated_at: float
    searchable_at: float

    def emails(self) -> tuple[str, ...]:
        primary = self.properties.get("email")
        return (primary, *self.additional_emails) if primary else self.additional_emails

    def value(self, name: str) -> str | None:
        match name:
            case "createdate":
                return _iso(self.created_at)
            case "lastmodifieddate":
                return _iso(self.updated_at)
            case "hs_object_id":
                return self.id
            case "hs_additional_emails":
                return ";".join(self.additional_emails) or None
        return self.properties.get(name)

    def plain(self) -> _Json:
        emails = list(self.additional_emails)
        return {"id": self.id, "properties": dict(self.properties), "additional_emails": emails}


class _Portal:
    """What one HubSpot account holds."""

    def __init__(self, now: float) -> None:
        self.contacts: dict[str, _Contact] = {}
        self.ids_by_email: dict[str, str] = {}
        self.merged_into: dict[str, str] = {}
        self.properties = _standard_definitions(now)
        self.archived: dict[str, _Json] = {}
        self.required: set[str] = set()
        self.blocked: set[str] = set()
        self._ids = count(20_001)

    def find(self, contact_id: str) -> _Contact | None:
        """Return the live record of an id, or of the record that it was merged into."""
        while contact_id in self.merged_into:
            contact_id = self.merged_into[contact_id]
        return self.contacts.get(contact_id)

    def find_by_email(self, email: str) -> _Contact | None:
        """Return the owner of an address, primary or additional."""
        return self.contacts.get(self.ids_by_email.get(_normal_email(email), ""))

    def add(
        self, values: Mapping[str, str], emails: Iterable[str], now: float, *, searchable_at: float
    ) -> _Contact:
        kept = {name: value for name, value in values.items() if value}
        additional = tuple(email for email in dict.fromkeys(emails) if email != kept.get("email"))
        contact_id = str(next(self._ids))
        return self.put(_Contact(contact_id, kept, additional, now, now, searchable_at))

    def put(self, contact: _Contact) -> _Contact:
        self._free_emails(contact.id)
        self.contacts[contact.id] = contact
        self.ids_by_email |= dict.fromkeys(contact.emails(), contact.id)
        return contact

    def remove(self, contact_id: str) -> None:
        self._free_emails(contact_id)
        self.contacts.pop(contact_id, None)

    def merge(self, primary: _Contact, other: _Contact, now: float) -> _Contact:
        self.remove(primary.id)
        self.remove(other.id)
        values = other.properties | primary.properties
        emails = (*primary.emails(), *other.emails())
        merged = self.add(values, emails, now, searchable_at=now)
        self.merged_into |= {primary.id: merged.id, other.id: merged.id}
        return merged

    def define(self, given: Mapping[str, Any], now: float) -> _Json:
        """Create a property; an archived name comes back, and with it the contacts' old values."""
        archived = self.archived.pop(given["name"], {})
        definition = _definition(given, now)
        definition["createdAt"] = archived.get("createdAt", definition["createdAt"])
        self.properties[given["name"]] = definition
        return definition

    def archive(self, name: str, now: float) -> None:
        definition = self.properties.pop(name)
        self.archived[name] = definition | {"archived": True, "archivedAt": _iso(now)}

    def snapshot(self) -> tuple[dict[str, _Contact], dict[str, str]]:
        return dict(self.contacts), dict(self.ids_by_email)

    def restore(self, snapshot: tuple[dict[str, _Contact], dict[str, str]]) -> None:
        self.contacts, self.ids_by_email = snapshot

    def _free_emails(self, contact_id: str) -> None:
        if contact_id in self.contacts:
            for email in self.contacts[contact_id].emails():
                del self.ids_by_email[email]


class _Api:
    """The endpoints: each public method answers one of them, under the emulator's lock."""

    def __init__(self, emulator: "Emulator", portal: _Portal) -> None:
        self._emulator = emulator
        self._portal = portal

    def list_contacts(self, request: _Request) -> _Answer:
        limit = int(request.query.get("limit", "10"))
        if limit > _LIST_PAGE_MAXIMUM:
            raise _invalid(f"The limit must not exceed {_LIST_PAGE_MAXIMUM}")
        page = list(self._portal.contacts.values())[:limit]
        return _Answer(200, {"results": [self._shown(each, request.names()) for each in page]})

    def create_contact(self, request: _Request) -> _Answer:
        values = _written(request.body)
        return _Answer(201, self._shown(self._create(values, request.version), values))

    def read_contact(self, request: _Request) -> _Answer:
        return _Answer(200, self._shown(self._addressed(request), request.names()))

    def update_contact(self, request: _Request) -> _Answer:
        contact, values = self._addressed(request), _written(request.body)
        return _Answer(200, self._shown(self._update(contact, values), values))

    def delete_contact(self, request: _Request) -> _Answer:
        self._portal.remove(request.key)
        return _Answer(204)

    def search_contacts(self, request: _Request) -> _Answer:
        if len(request.text) > _SEARCH_BODY_MAXIMUM:
            raise _invalid("The body of a search must not exceed 3,000 characters")
        limit = int(request.body.get("limit", 10))
        if limit > _SEARCH_PAGE_MAXIMUM:
            raise _invalid(f"The limit must not exceed {_SEARCH_PAGE_MAXIMUM}")
        groups = request.body.get("filterGroups") or [{"filters": []}]
        found = {each.id: each for group in groups for each in self._matching(group["filters"])}
        page = list(found.values())[:limit]
        results = [self._shown(each, request.names()) for each in page]
        return _Answer(200, {"total": len(found), "results": results})

    def batch_read(self, request: _Request) -> _Answer:
        id_property = request.body.get("idProperty")
        if id_property not in (None, "email"):
            raise self._not_unique(id_property)
        keys = [str(item["id"]) for item in request.inputs]
        _refuse_duplicates([_normal_email(key) for key in keys])
        find = self._portal.find_by_email if id_property else self._portal.find
        owners = {key: find(key) for key in keys}
        missing = [key for key, owner in owners.items() if owner is None]
        # Two addresses of one contact give one result, which shows the primary one.
        found = {owner.id: owner for owner in owners.values() if owner is not None}
        results = [self._shown(each, request.names()) for each in found.values()]
        return self._batch_answer(results, [self._not_found(missing)] if missing else [])

    def batch_create(self, request: _Request) -> _Answer:
        emails = [_normal_email(_written(item).get("email", "")) for item in request.inputs]
        _refuse_duplicates([email for email in emails if email])

        def write(_: _Json, values: dict[str, str]) -> _Json:
            return self._shown(self._create(values, request.version), values)

        return self._batch_write(request.inputs, write, done=201)

    def batch_update(self, request: _Request) -> _Answer:
        for item in request.inputs:
            if item.get("idProperty"):
                raise self._not_unique(item["idProperty"])
        _refuse_duplicates([str(item["id"]) for item in request.inputs])
        # An id that is no number, such as an email, is answered with success and changes nothing.
        inputs = [item for item in request.inputs if str(item["id"]).isdigit()]

        def write(item: _Json, values: dict[str, str]) -> _Json | None:
            contact = self._portal.find(str(item["id"]))
            if contact is None:
                return None
            return self._shown(self._update(contact, values), values)

        honours_trace_ids = self._emulator.update_multi_status
        return self._batch_write(inputs, write, honours_trace_ids=honours_trace_ids)

    def batch_upsert(self, request: _Request) -> _Answer:
        for item in request.inputs:
            if item.get("idProperty") != "email":
                raise self._not_unique(item.get("idProperty", "hs_object_id"))
        _refuse_duplicates([_normal_email(item["id"]) for item in request.inputs])

        def write(item: _Json, values: dict[str, str]) -> _Json:
            found = self._portal.find_by_email(item["id"])
            if found is None:
                contact = self._create({"email": item["id"], **values}, request.version)
            else:
                contact = self._update(found, values)
            return {**self._shown(contact, ["email", *values]), "new": found is None}

        return self._batch_write(request.inputs, write)

    def list_properties(self, request: _Request) -> _Answer:
        return _Answer(200, {"results": list(self._shelf(request.query.get("archived")).values())})

    def read_property(self, request: _Request) -> _Answer:
        found = self._shelf(request.query.get("archived")).get(request.key)
        if found is None:
            raise _no_property(request.key)
        return _Answer(200, found)

    def create_property(self, request: _Request) -> _Answer:
        return _Answer(201, self._define(request.body))

    def archive_property(self, request: _Request) -> _Answer:
        if request.key not in self._portal.properties:
            raise _no_property(request.key)
        if self._portal.properties[request.key]["hubspotDefined"]:
            raise _invalid(f"Property '{request.key}' is defined by HubSpot")
        self._portal.archive(request.key, self._emulator.clock())
        return _Answer(204)

    def batch_read_properties(self, request: _Request) -> _Answer:
        shelf = self._shelf(request.body.get("archived"))
        names = [str(item.get("name")) for item in request.inputs]
        errors = [
            _no_property(name).item(self._emulator.portal_id) for name in names if name not in shelf
        ]
        return self._batch_answer([shelf[name] for name in names if name in shelf], errors)

    def batch_create_properties(self, request: _Request) -> _Answer:
        results, errors = [], []
        for definition in request.inputs:
            try:
                results.append(self._define(definition))
            except _ApiError as error:
                errors.append(error.item(self._emulator.portal_id))
        return self._batch_answer(results, errors, done=201)

    def account_details(self, _: _Request) -> _Answer:
        now = datetime.fromtimestamp(self._emulator.clock(), self._emulator.zone())
        offset = now.utcoffset() or timedelta()
        details = {
            "portalId": self._emulator.portal_id,
            "accountType": "DEVELOPER_TEST",
            "timeZone": self._emulator.time_zone,
            "companyCurrency": "USD",
            "additionalCurrencies": [],
            "utcOffset": now.isoformat()[-6:],
            "utcOffsetMilliseconds": int(offset.total_seconds() * 1000),
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "na1",
        }
        return _Answer(200, details)

    def record_limits(self, _: _Request) -> _Answer:
        most = self._emulator.contact_quota
        limit = _CONTACT_MAXIMUM if most is None else most
        used = len(self._portal.contacts)
        contacts = {
            "objectTypeId": "0-1",
            "singularLabel": "Contact",
            "pluralLabel": "Contacts",
            "limit": limit,
            "usage": used,
            "percentage": used / limit if limit else 1.0,
        }
        return _Answer(200, {"hubspotDefinedObjectTypes": [contacts]})

    def token_info(self, request: _Request) -> _Answer:
        if request.body.get("tokenKey") != self._emulator.token:
            raise _unauthenticated()
        scopes = sorted(self._emulator.granted_scopes())
        hub = {"userId": 101, "hubId": self._emulator.portal_id, "appId": 303, "scopes": scopes}
        return _Answer(200, hub)

    def control_contacts(self, _: _Request) -> _Answer:
        return _Answer(200, {"contacts": self._emulator.contacts()})

    def control_add_contact(self, request: _Request) -> _Answer:
        additional = request.body.get("additional_emails", ())
        added = self._emulator.add_contact(_written(request.body), additional_emails=additional)
        return _Answer(201, {"id": added})

    def control_add_fault(self, request: _Request) -> _Answer:
        if request.body.keys() & {"reached", "release"}:
            raise _bad_json("only a fault of this process has events")
        self._emulator.fault(**request.body)
        return _Answer(201, request.body)

    def control_clear_faults(self, _: _Request) -> _Answer:
        self._emulator.clear_faults()
        return _Answer(204)

    def control_requests(self, _: _Request) -> _Answer:
        seen = self._emulator.requests
        return _Answer(200, {"count": len(seen), "requests": [list(each) for each in seen]})

    def no_such_path(self, _: _Request) -> _Answer:
        raise _ApiError(404, "Unable to find a route that matches the request")

    def no_such_method(self, _: _Request) -> _Answer:
        raise _ApiError(405, "HTTP 405 Method Not Allowed")

    def _shown(self, contact: _Contact, names: Iterable[str]) -> _Json:
        """Return the record with the properties asked for, unknown ones passed over."""
        live = [name for name in (*names, *_ALWAYS_SHOWN) if name in self._portal.properties]
        portal = self._emulator.portal_id
        return {
            "id": contact.id,
            "properties": {name: contact.value(name) for name in live},
            "createdAt": _iso(contact.created_at),
            "updatedAt": _iso(contact.updated_at),
            "archived": False,
            "url": f"https://app.hubspot.com/contacts/{portal}/record/0-1/{contact.id}",
        }

    def _addressed(self, request: _Request) -> _Contact:
        """Return the contact that a path names, by record id or by email."""
        match request.query.get("idProperty"):
            case "email":
                contact = self._portal.find_by_email(request.key)
            case None if request.key.isdigit():
                contact = self._portal.find(request.key)
            case None:
                message = "Object not found.  objectId are usually numeric."
                raise _ApiError(404, message, "OBJECT_NOT_FOUND", context={"id": [request.key]})
            case other:
                raise self._not_unique(other)
        if contact is None:
            raise _ApiError(404, "resource not found")
        return contact

    def _create(self, properties: Mapping[str, str], version: str) -> _Contact:
        values, now = self._checked(properties), self._emulator.clock()
        # The older versions pass over what an administrator has made required.
        required = self._portal.required if version >= "2026-09" else ()
        missing = sorted(name for name in required if not values.get(name))
        if missing:
            # Status and code are documented, the rest is not.
            code = "MISSING_REQUIRED_PROPERTY"
            raise _invalid("", problems=[_Problem(p, code, f'"{p}" is required') for p in missing])
        if not any(values.get(name) for name in _DEFAULT_PROPERTIES):
            raise _invalid("A contact needs an email, a firstname or a lastname")
        self._refuse_taken(values.get("email"), owner=None)
        quota = self._emulator.contact_quota
        if quota is not None and len(self._portal.contacts) >= quota:
            # Nobody has published what HubSpot says here.
            raise _invalid(f"This account has reached its limit of {quota} contacts")
        return self._portal.add(values, (), now, searchable_at=now + self._emulator.search_lag)

    def _update(self, contact: _Contact, properties: Mapping[str, str]) -> _Contact:
        """Change the properties given and no others; an empty string clears."""
        values = self._checked(properties)
        stage, new_stage = contact.value("lifecyclestage"), values.get("lifecyclestage")
        if stage and new_stage and _STAGES.index(new_stage) < _STAGES.index(stage):
            # A stage moves forward only; HubSpot keeps the old one and answers success.
            del values["lifecyclestage"]
        email, additional = values.get("email"), contact.additional_emails
        self._refuse_taken(email, owner=contact.id)
        if email in additional:
            # Not documented: taken to swap the two addresses rather than lose one.
            additional = tuple(each for each in contact.emails() if each != email)
        kept = {name: value for name, value in {**contact.properties, **values}.items() if value}
        now = self._emulator.clock()
        return self._portal.put(
            replace(contact, properties=kept, additional_emails=additional, updated_at=now)
        )

    def _checked(self, properties: Mapping[str, str]) -> dict[str, str]:
        """Return the values as they are stored, or refuse them all, naming each problem."""
        values: dict[str, str] = {}
        problems: list[_Problem] = []
        for name, value in properties.items():
            try:
                values[name] = self._value(name, value)
            except _InvalidValueError as error:
                problems.append(_Problem(name, *error.args))
        if problems:
            raise _invalid("", problems=problems)
        return values

    def _value(self, name: str, value: str) -> str:
        definition = self._portal.properties.get(name)
        if definition is None:
            message = f'Property "{name}" does not exist'
            raise _InvalidValueError("PROPERTY_DOESNT_EXIST", message)
        if definition["modificationMetadata"]["readOnlyValue"]:
            message = f'"{name}" is a read only property; its value cannot be set.'
            raise _InvalidValueError("READ_ONLY_VALUE", message)
        stored = _stored(definition, value) if value else ""
        if name == "email" and stored in self._portal.blocked:
            # The words are those that HubSpot's user interface looks for; the code is a guess.
            raise _InvalidValueError("INVALID_EMAIL", "email has been GDPR blacklisted")
        return stored

    def _refuse_taken(self, email: str | None, *, owner: str | None) -> None:
        existing = self._portal.ids_by_email.get(email or "")
        if existing not in (None, owner):
            message = f"Contact already exists. Existing ID: {existing}"
            raise _ApiError(409, message, "CONFLICT", item_context={"existingId": [str(existing)]})

    def _matching(self, filters: Iterable[_Json]) -> list[_Contact]:
        """Return the contacts that all filters match and the search index has taken in."""
        contacts: Iterable[_Contact] = self._portal.contacts.values()
        for each in filters:
            name, wanted = each.get("propertyName", ""), _wanted(each)
            if name not in self._portal.properties:
                raise _invalid(f'Property "{name}" does not exist')
            if name == "email":
                # By index, or a large portal would be slow here where HubSpot is not.
                owners = [self._portal.find_by_email(email) for email in wanted]
                ids = {owner.id for owner in owners if owner is not None}
                contacts = [self._portal.contacts[each] for each in sorted(ids)]
            contacts = [contact for contact in contacts if wanted & self._found_by(contact, name)]
        now = self._emulator.clock()
        return [contact for contact in contacts if contact.searchable_at <= now]

    def _found_by(self, contact: _Contact, name: str) -> set[str]:
        if name == "hs_additional_emails":
            return set(contact.additional_emails)
        if name == "email" and self._emulator.search_finds_secondary:
            return set(contact.emails())
        return {(contact.value(name) or "").lower()} - {""}

    def _batch_write(
        self,
        inputs: Sequence[_Json],
        write: Callable[[_Json, dict[str, str]], _Json | None],
        *,
        done: int = 200,
        honours_trace_ids: bool = True,
    ) -> _Answer:
        """Write what can be written if every input has a trace id, else all or nothing.

        `write` returns the record, or None where there is no such record.
        """
        traced = honours_trace_ids and all(item.get(_TRACE) for item in inputs)
        before = None if traced else self._portal.snapshot()
        results: list[_Json] = []
        errors: list[_Json] = []
        refusals: list[_ApiError] = []
        missing: list[str] = []
        for item, values in [(item, _written(item)) for item in inputs]:
            trace_id = item[_TRACE] if traced else None
            try:
                result = write(item, values)
            except _ApiError as refusal:
                refusals.append(refusal)
                errors.append(refusal.item(self._emulator.portal_id, trace_id))
                continue
            if result is not None:
                echo = traced and self._emulator.echo_trace_ids
                results.append({**result, _TRACE: trace_id} if echo else result)
            elif traced:
                errors.append(self._not_found([item["id"]], trace_id))
            else:
                missing.append(item["id"])
        if refusals and before is not None:
            self._portal.restore(before)
            problems = [problem for refusal in refusals for problem in refusal.problems]
            raise _invalid("", problems=problems) if problems else refusals[0]
        errors += [self._not_found(missing)] if missing else []
        return self._batch_answer(results, errors, done=done)

    def _batch_answer(
        self, results: Sequence[_Json], errors: Sequence[_Json], *, done: int = 200
    ) -> _Answer:
        now = _iso(self._emulator.clock())
        body: _Json = {"status": "COMPLETE", "results": list(reversed(results))}
        if errors:
            body |= {"numErrors": len(errors), "errors": errors}
        return _Answer(207 if errors else done, body | {"startedAt": now, "completedAt": now})

    def _not_found(self, ids: list[str], trace_id: str | None = None) -> _Json:
        message = (
            "Could not get some CONTACT objects, they may be deleted or not exist. "
            "Check that ids are valid."
        )
        error = _ApiError(404, message, "OBJECT_NOT_FOUND", item_context={"ids": ids})
        return error.item(self._emulator.portal_id, trace_id)

    def _not_unique(self, name: str) -> _ApiError:
        return _invalid(
            f"Unable to perform update/upsert by non-unique 0-1 property {name} "
            f"in portal ID {self._emulator.portal_id}"
        )

    def _shelf(self, archived: object) -> dict[str, _Json]:
        return self._portal.archived if archived in (True, "true") else self._portal.properties

    def _define(self, definition: _Json) -> _Json:
        needed = ("name", "label", "type", "fieldType", "groupName")
        unset = [name for name in needed if not definition.get(name)]
        if unset:
            message = f"Some required fields were not set: [{', '.join(unset)}]"
            raise _invalid(f"Invalid input JSON on line 1, column 2. {message}")
        name = definition["name"]
        if name in self._portal.properties:
            raise _ApiError(
                409,
                f"A property named '{name}' already exists.",
                "OBJECT_ALREADY_EXISTS",
                item_context={"name": [name]},
                subCategory="Properties.PROPERTY_WITH_NAME_EXISTS",
            )
        return self._portal.define(definition, self._emulator.clock())


def _wanted(search_filter: _Json) -> set[str]:
    match search_filter.get("operator"):
        case "EQ":
            return {str(search_filter.get("value", "")).lower()}
        case "IN":
            # HubSpot wants these in lower case, and finds nothing otherwise.
            return set(search_filter.get("values", ()))
        case operator:
            raise _invalid(f"The emulator does not know the operator {operator}")


def _no_property(name: str) -> _ApiError:
    message = f'Property "{name}" does not exist'
    return _ApiError(404, message, "OBJECT_NOT_FOUND", item_context={"name": [name]})


class _Route(NamedTuple):
    """An endpoint; the token needs one of the scopes, or is not asked for where they are None."""

    method: str
    pattern: str
    scopes: frozenset[str] | None
    action: Callable[[_Api, _Request], _Answer]


_OBJECTS = r"/crm/(?:v3/objects|objects/(?P<version>\d{4}-\d\d))/contacts"
_PROPERTIES = r"/crm/(?:v3/properties|properties/(?P<version>\d{4}-\d\d))/contacts"
_KEY = r"/(?P<key>[^/]+)"
_LIMITS = r"/crm/(?:v3/limits|limits/(?P<version>\d{4}-\d\d))/records"
_ACCOUNT = r"/account-info/(?:v3|\d{4}-\d\d)/details"
_KEY_INFO = "/oauth/v2/private-apps/get/access-token-info"
_CONTROL = "/_emulator/"

_ROUTES = (
    _Route("GET", _OBJECTS, _READ, _Api.list_contacts),
    _Route("POST", _OBJECTS, _WRITE, _Api.create_contact),
    _Route("POST", _OBJECTS + "/search", _READ, _Api.search_contacts),
    _Route("GET", _OBJECTS + _KEY, _READ, _Api.read_contact),
    _Route("PATCH", _OBJECTS + _KEY, _WRITE, _Api.update_contact),
    _Route("DELETE", _OBJECTS + _KEY, _WRITE, _Api.delete_contact),
    _Route("POST", _OBJECTS + "/batch/read", _READ, _Api.batch_read),
    _Route("POST", _OBJECTS + "/batch/create", _WRITE, _Api.batch_create),
    _Route("POST", _OBJECTS + "/batch/update", _WRITE, _Api.batch_update),
    _Route("POST", _OBJECTS + "/batch/upsert", _WRITE, _Api.batch_upsert),
    _Route("GET", _PROPERTIES, _SCHEMA_READ, _Api.list_properties),
    _Route("POST", _PROPERTIES, _SCHEMA_WRITE, _Api.create_property),
    _Route("GET", _PROPERTIES + _KEY, _SCHEMA_READ, _Api.read_property),
    _Route("DELETE", _PROPERTIES + _KEY, _SCHEMA_WRITE, _Api.archive_property),
    _Route("POST", _PROPERTIES + "/batch/read", _SCHEMA_READ, _Api.batch_read_properties),
    _Route("POST", _PROPERTIES + "/batch/create", _SCHEMA_WRITE, _Api.batch_create_properties),
    _Route("GET", _LIMITS, _READ, _Api.record_limits),
    _Route("GET", _ACCOUNT, frozenset(), _Api.account_details),
    _Route("POST", _KEY_INFO, None, _Api.token_info),
    _Route("GET", _CONTROL + "contacts", None, _Api.control_contacts),
    _Route("POST", _CONTROL + "contacts", None, _Api.control_add_contact),
    _Route("POST", _CONTROL + "faults", None, _Api.control_add_fault),
    _Route("DELETE", _CONTROL + "faults", None, _Api.control_clear_faults),
    _Route("GET", _CONTROL + "requests", None, _Api.control_requests),
)


def _route_of(request: _Request) -> _Route:
    """Return the endpoint of a request, whose version and key it reads from the path."""
    path, action = request.path.partition("?")[0], _Api.no_such_path
    for route in _ROUTES:
        match = re.fullmatch(route.pattern, path)
        if match and route.method == request.method:
            request.version = match.groupdict().get("version") or ""
            # A plus that is not encoded means a space: clients have to encode it.
            request.key = unquote_plus(match.groupdict().get("key") or "")
            return route
        action = _Api.no_such_method if match else action
    return _Route(request.method, path, frozenset(), action)


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next `times` requests that match."""

    method: str | None = None  # None for any
    path: str = ""  # a regular expression, searched in the path with its query string
    contains: str = ""  # text that the request's body must contain
    times: int | None = 1  # counted down with every request it befalls; None for ever
    status: int | None = None  # answered instead of doing the work
    body: Any = None  # JSON, or a text that is sent as HTML; None for what HubSpot usually says
    headers: Mapping[str, str] = field(default_factory=dict)  # such as Retry-After
    policy: str = "TEN_SECONDLY_ROLLING"  # the limit that a 429 names; also SECONDLY and DAILY
    delay: float = 0.0  # seconds before the answer, with the work done already
    after_write: bool = False  # do the work first, and only then answer `status`, or drop
    drop: bool = False  # close the connection without an answer
    # Set when a request has come to the point where it goes wrong.
    reached: threading.Event = field(default_factory=threading.Event)
    # If given, the request is held at that point until this is set.
    release: threading.Event | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class Emulator:
    """A HubSpot account on a port of this machine: start and stop it, or use it in a `with`.

    Every argument is also an attribute that may be changed while it runs.
    """

    token: str = "pat-na1-xxxxxxxx"  # noqa: S105 - it opens nothing
    portal_id: int = 24680135
    scopes: Iterable[str] | None = None  # what the token may do; None for all that contacts need
    port: int = 0  # 0 for any that is free
    search_lag: float = 0.0  # seconds until search shows a contact that was created over HTTP
    burst_limit: int | None = None  # requests in ten seconds, searches not counted
    daily_limit: int | None = None  # requests until midnight in `time_zone`
    search_limit: int | None = None  # searches in a second
    echo_trace_ids: bool = True  # whether a batch's results repeat them, as its errors always do
    update_multi_status: bool = True  # whether trace ids let batch/update succeed in part
    search_finds_secondary: bool = False  # by `email`; reports differ
    latency: float = 0.0  # seconds that every request takes
    latency_per_input: float = 0.0  # and that every input of a batch takes besides
    time_zone: str = "US/Eastern"
    clock: Callable[[], float] = time.time  # seconds since 1970; limits, lag and dates follow it
    contact_quota: int | None = None  # contacts that the account may hold
    # Method and path of each request since `reset_requests`.
    requests: list[tuple[str, str]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        # Never held while a request waits, or one fault would hold up all the others.
        self._lock = threading.RLock()
        self._portal = _Portal(self.clock())
        self._api = _Api(self, self._portal)
        self._faults: list[Fault] = []
        self._burst: deque[float] = deque()
        self._searches: deque[float] = deque()
        self._used_on: tuple[date, int] = (date.min, 0)
        self._server: _Server | None = None
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL, which the first start decides."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def request_count(self) -> int:
        """How many requests came, those to the control API not counted."""
        return len(self.requests)

    def start(self) -> None:
        """Serve in a thread; after a stop, on the same port and with the same contacts."""
        if self._server is None:
            self._stopping = threading.Event()
            self._server = _Server(self.port, self._respond)
            self.port = self._server.server_address[1]
            serve = self._server.serve_forever
            threading.Thread(target=serve, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Close the port and all connections; requests that are held go unanswered."""
        self._stopping.set()
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def serve_forever(self) -> None:
        """Serve until `stop`, or until an exception such as KeyboardInterrupt."""
        self.start()
        try:
            self._stopping.wait()
        finally:
            self.stop()

    def fault(self, **attributes: Any) -> Fault:
        """Add a `Fault` of these attributes behind those there are, and return it."""
        fault = Fault(**attributes)
        re.compile(fault.path)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Let everything go well from now on."""
        with self._lock:
            self._faults.clear()

    def reset_requests(self) -> None:
        """Forget the requests seen."""
        with self._lock:
            self.requests.clear()

    def add_contact(
        self, properties: Mapping[str, str], *, additional_emails: Iterable[str] = ()
    ) -> str:
        """Put a contact there, unchecked and at once visible to search, and return its id.

        Raises:
            ValueError: another contact holds one of the addresses.
        """
        values = dict(properties)
        if values.get("email"):
            values["email"] = _normal_email(values["email"])
        additional = [_normal_email(email) for email in additional_emails]
        with self._lock:
            for email in (values.get("email", ""), *additional):
                if self._portal.find_by_email(email) is not None:
                    raise ValueError(f"another contact holds the address {email}")
            now = self.clock()
            return self._portal.add(values, additional, now, searchable_at=now).id

    def contacts(self) -> list[dict[str, Any]]:
        """Return the live contacts: `id`, the `properties` written, `additional_emails`."""
        with self._lock:
            return [contact.plain() for contact in self._portal.contacts.values()]

    def contact_by_email(self, email: str) -> dict[str, Any] | None:
        """Return the contact that holds an address, primary or additional."""
        with self._lock:
            contact = self._portal.find_by_email(email)
        return None if contact is None else contact.plain()

    def delete_contact(self, contact_id: str) -> None:
        """Delete a contact, as a user of HubSpot would."""
        with self._lock:
            self._portal.remove(contact_id)

    def merge_contacts(self, primary_id: str, other_id: str) -> str:
        """Merge two contacts into a new record and return its id; the old ids lead to it.

        Raises:
            KeyError: one of them does not exist.
        """
        with self._lock:
            primary, other = self._portal.contacts[primary_id], self._portal.contacts[other_id]
            return self._portal.merge(primary, other, self.clock()).id

    def add_property(self, definition: Mapping[str, Any]) -> None:
        """Define a property, or define it anew; `name` is enough, the rest has defaults."""
        with self._lock:
            self._portal.define(definition, self.clock())

    def archive_property(self, name: str) -> None:
        """Archive a property: contacts keep its values, and nobody sees them."""
        with self._lock:
            self._portal.archive(name, self.clock())

    def property(self, name: str) -> dict[str, Any] | None:
        """Return the definition of a live property."""
        definition = self._portal.properties.get(name)
        return None if definition is None else dict(definition)

    def require_property(self, name: str) -> None:
        """Require a property of every new contact, from API version 2026-09 on."""
        self._portal.required.add(name)

    def block_email(self, email: str) -> None:
        """Refuse an address for ever, as HubSpot does after a GDPR deletion."""
        self._portal.blocked.add(_normal_email(email))

    def granted_scopes(self) -> frozenset[str]:
        """What the token may do."""
        return _ALL_SCOPES if self.scopes is None else frozenset(self.scopes)

    def zone(self) -> tzinfo:
        """The account's time zone, or UTC where this machine does not know it."""
        try:
            return ZoneInfo(self.time_zone)
        except ZoneInfoNotFoundError:
            return UTC

    def _respond(self, request: _Request) -> _Answer | None:
        """Answer one request; None means to close the connection without a word."""
        route = _route_of(request)
        if request.path.startswith(_CONTROL):
            return self._work(route, request)
        with self._lock:
            self.requests.append((request.method, request.path))
            refusal = self._admit(route, request)
            limits = self._limit_headers(route)
            fault = None if refusal else self._next_fault(request)
        inputs = request.input_count() if self.latency_per_input else 0
        self._stopping.wait(self.latency + self.latency_per_input * inputs)
        if refusal is not None:
            answer: _Answer | None = refusal.answer()
        elif fault is not None:
            answer = self._go_wrong(fault, route, request)
        else:
            answer = self._work(route, request)
        return answer and answer._replace(headers={**limits, **answer.headers})

    def _work(self, route: _Route, request: _Request) -> _Answer:
        try:
            if route.scopes and not route.scopes & self.granted_scopes():
                raise _missing_scopes(route.scopes)
            with self._lock:
                return route.action(self._api, request)
        except _ApiError as error:
            return error.answer()
        except _MISFITS as error:
            return _bad_json(f"unexpected shape: {error!r}").answer()

    def _go_wrong(self, fault: Fault, route: _Route, request: _Request) -> _Answer | None:
        answer = self._work(route, request) if fault.after_write else None
        fault.reached.set()
        stopping = self._stopping
        while fault.release and not (fault.release.wait(0.05) or stopping.is_set()):
            pass
        if fault.body is not None:
            answer = _Answer(fault.status or 200, fault.body)
        elif fault.status is not None:
            answer = _usual_answer(fault.status, fault.policy, route.scopes or _WRITE)
        elif answer is None and not fault.drop:
            answer = self._work(route, request)
        stopping.wait(fault.delay)
        if answer is None or fault.drop:
            return None
        return answer._replace(headers={**answer.headers, **fault.headers})

    def _admit(self, route: _Route, request: _Request) -> _ApiError | None:
        """Count a request, or return why it may not pass."""
        if route.scopes is not None and request.authorization != f"Bearer {self.token}":
            return _unauthenticated()
        window, seconds, limit, policy = (
            (self._searches, 1, self.search_limit, "SECONDLY")
            if route.action is _Api.search_contacts
            else (self._burst, _BURST_SECONDS, self.burst_limit, "TEN_SECONDLY_ROLLING")
        )
        now = self.clock()
        while window and window[0] <= now - seconds:
            window.popleft()
        today = datetime.fromtimestamp(now, self.zone()).date()
        used = self._used_on[1] if self._used_on[0] == today else 0
        if self.daily_limit is not None and used >= self.daily_limit:
            return _too_many_requests("DAILY")
        if limit is not None and len(window) >= limit:
            return _too_many_requests(policy)
        window.append(now)
        self._used_on = (today, used + 1)
        return None

    def _limit_headers(self, route: _Route) -> dict[str, str]:
        """Tell what is left, as HubSpot does with every answer but those of search."""
        headers: dict[str, int] = {}
        if self.burst_limit is not None:
            headers["Interval-Milliseconds"] = _BURST_SECONDS * 1000
            headers["Max"] = self.burst_limit
            headers["Remaining"] = max(0, self.burst_limit - len(self._burst))
        if self.daily_limit is not None:
            headers["Daily"] = self.daily_limit
            headers["Daily-Remaining"] = max(0, self.daily_limit - self._used_on[1])
        if route.action is _Api.search_contacts:
            headers = {}
        return {f"X-HubSpot-RateLimit-{name}": str(value) for name, value in headers.items()}

    def _next_fault(self, request: _Request) -> Fault | None:
        for fault in self._faults:
            if (
                fault.times != 0
                and fault.method in (None, request.method)
                and re.search(fault.path, request.path)
                and fault.contains in request.text
            ):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, asks the emulator, writes the answer in one packet."""

    protocol_version = "HTTP/1.1"
    server_version = "hubspot-emulator"
    sys_version = ""
    # Unbuffered, http.server sends headers and body as two packets, the second 40 ms late.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: "_Server"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length).decode("utf-8", "replace")
        authorization = self.headers.get("Authorization", "")
        answer = self.server.respond(_Request(self.command, self.path, authorization, text))
        if answer is None:
            self.close_connection = True
            return
        headers = {"X-HubSpot-Correlation-Id": str(uuid4()), **answer.headers}
        content = b""
        if isinstance(answer.body, str):
            content = answer.body.encode()
            headers["Content-Type"] = "text/html; charset=utf-8"
        elif answer.status != 204:
            content = json.dumps(answer.body).encode()
            headers["Content-Type"] = "application/json;charset=utf-8"
        if isinstance(answer.body, dict) and "correlationId" in answer.body:
            headers["X-HubSpot-Correlation-Id"] = answer.body["correlationId"]
        if answer.status != 204:
            headers["Content-Length"] = str(len(content))
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing: the output belongs to whoever runs the emulator."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, respond: Callable[[_Request], _Answer | None]) -> None:
        self.respond = respond
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up this machine's name, which can take seconds.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that went away is no fault
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Close the port and the connections too, which their threads would go on serving."""
        # On Linux this wakes the serving thread at once; elsewhere it looks every 10 ms.
        _shut(self.socket)
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            _shut(connection)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
