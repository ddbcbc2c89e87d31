"""HubSpot's endpoints in our words; what its answers promise is checked here.

To call another endpoint, start at `HubSpotClient` and `_Paths`. A 2xx answer that lacks what the
endpoint promises is no answer: it raises `Unavailable` with an unknown outcome.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    HubSpotDenied,
    NotFound,
    Unavailable,
)
from hubspot_sync.hubspot.answers import (
    Account,
    not_promised,
    require_email,
    to_definition,
    to_record,
    to_successes,
    to_texts,
    to_zone,
)
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.rules.accounting import BatchReply, Refusal
from hubspot_sync.rules.identity import HubSpotRecord
from hubspot_sync.rules.mapping import (
    CustomProperty,
    ObjectType,
    PropertyDefinition,
)
from hubspot_sync.rules.reaction import is_full, refusal_of_item
from hubspot_sync.rules.retry import REQUEST_TRIES

log = logging.getLogger(__name__)

MOST_INPUTS = 100
"""What HubSpot takes in one batch request."""

_TOKEN_INFO = "/oauth/v2/private-apps/get/access-token-info"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class _Paths:
    """Where things are: v3 puts its version elsewhere than the dated versions do."""

    version: str
    object_type: str

    @property
    def records(self) -> str:
        if self.version == "v3":
            return f"/crm/v3/objects/{self.object_type}"
        return f"/crm/objects/{self.version}/{self.object_type}"

    @property
    def properties(self) -> str:
        if self.version == "v3":
            return f"/crm/v3/properties/{self.object_type}"
        return f"/crm/properties/{self.version}/{self.object_type}"

    @property
    def account(self) -> str:
        return f"/account-info/{self.version}/details"

    @property
    def limits(self) -> str:
        if self.version == "v3":
            return "/crm/v3/limits/records"
        return f"/crm/limits/{self.version}/records"


class HubSpotClient:
    """The requests that the sync needs.

    Args:
        transport: sends them.
        object_type: the kind of record that they are about.
        api_version: `v3` or a dated version.
        custom_properties: the names that `create-properties` makes.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        object_type: ObjectType,
        api_version: str = "v3",
        custom_properties: Collection[str] = (),
    ) -> None:
        self.transport = transport
        self.object_type = object_type
        self._paths = _Paths(api_version, object_type.path)
        self._custom_properties = frozenset(custom_properties)

    def read_by_email(self, email: str, properties: Collection[str] = ()) -> HubSpotRecord | None:
        """Read the contact that has this primary or secondary address, or None.

        This asks the record store, which knows a contact as soon as it is written. A record that
        does not show the address is not taken for its owner.
        """
        record = self._read(
            quote(email, safe=""), properties, {"idProperty": self.object_type.key_property}
        )
        return record if record is not None and email in record.emails else None

    def read_by_id(self, contact_id: str, properties: Collection[str] = ()) -> HubSpotRecord | None:
        """Read a contact by its record id, or None. A merged one answers under its new id."""
        return self._read(quote(contact_id, safe=""), properties, {})

    def create(self, properties: Mapping[str, str]) -> str:
        """Create a contact and return its record id; not repeated where its answer is lost.

        Raises:
            Conflict: HubSpot holds the email already.
            Unavailable: with `outcome_unknown` where it may have been created.
        """
        body = self.transport.request(
            "POST",
            self._paths.records,
            {"properties": dict(properties)},
            repeatable=False,
            check=lambda body: require_email(to_record(body), properties.get("email")),
        )
        return to_record(body).id

    def update(self, contact_id: str, properties: Mapping[str, str]) -> str:
        """Update a contact by its record id, and return the id that HubSpot confirms.

        Raises:
            NotFound: the contact was deleted or merged.
            Conflict: another contact owns the email that was sent.
        """
        body = self.transport.request(
            "PATCH",
            f"{self._paths.records}/{quote(contact_id, safe='')}",
            {"properties": dict(properties)},
            check=to_record,
        )
        return to_record(body).id

    def read_batch(
        self,
        keys: Collection[str],
        properties: Collection[str] = (),
        *,
        by_email: bool,
        tries: int = REQUEST_TRIES,
    ) -> tuple[list[HubSpotRecord], frozenset[str]]:
        """Read up to a hundred contacts by their addresses or by their record ids.

        Returns:
            The records, each once, and those keys that HubSpot said it does not have. A key that
            is in neither was not spoken of.
        """
        body = self.transport.request(
            "POST",
            f"{self._paths.records}/batch/read",
            {
                "properties": self._asked(properties),
                "propertiesWithHistory": [],
                "inputs": [{"id": key} for key in keys],
            }
            | ({"idProperty": self.object_type.key_property} if by_email else {}),
            tries=tries,
        )
        missing = {
            key.lower()
            for refusal in self._refusals(body)
            if isinstance(refusal.error, NotFound)
            for key in refusal.record_ids
        }
        records = [success.record for success in to_successes(body, "a batch of contacts")]
        return records, frozenset(missing)

    def create_batch(
        self, inputs: Sequence[tuple[str, Mapping[str, str]]], *, tries: int = REQUEST_TRIES
    ) -> BatchReply:
        """Create up to a hundred contacts, each input a trace id and its properties.

        The trace ids make HubSpot answer for each input (207) and write the good ones. Not
        repeated where the answer is lost.

        Raises:
            ContactRejected, Conflict: the request was refused as a whole; nothing was written.
            Unavailable: with `outcome_unknown` where it may have been carried out.
        """
        return self._write_batch(
            "create",
            [
                {"properties": dict(properties), "objectWriteTraceId": trace_id}
                for trace_id, properties in inputs
            ],
            repeatable=False,
            tries=tries,
        )

    def update_batch(
        self, inputs: Sequence[tuple[str, str, Mapping[str, str]]], *, tries: int = REQUEST_TRIES
    ) -> BatchReply:
        """Update up to a hundred contacts, each input a trace id, a record id and properties.

        By record id alone: HubSpot refuses the email as a key here.

        Raises:
            ContactRejected, NotFound, Conflict: the request was refused as a whole.
        """
        return self._write_batch(
            "update",
            [
                {
                    "id": record_id,
                    "properties": dict(properties),
                    "objectWriteTraceId": trace_id,
                }
                for trace_id, record_id, properties in inputs
            ],
            repeatable=True,
            tries=tries,
        )

    def _write_batch(
        self, what: str, inputs: list[object], *, repeatable: bool, tries: int
    ) -> BatchReply:
        body = self.transport.request(
            "POST",
            f"{self._paths.records}/batch/{what}",
            {"inputs": inputs},
            repeatable=repeatable,
            tries=tries,
        )
        return BatchReply(
            successes=tuple(to_successes(body, f"a batch {what}")),
            refusals=tuple(self._refusals(body)),
        )

    def probe(self) -> None:
        """Ask for one small thing, once, to learn whether HubSpot answers at all."""
        body = self.transport.request("GET", self._paths.records, params={"limit": "1"}, tries=1)
        if not isinstance(body.get("results"), list):
            raise not_promised("a list")

    def account(self) -> Account:
        """Return the portal that the token opens; this counts against its limits, not our share."""
        body = self.transport.request("GET", self._paths.account, from_reserve=True)
        portal_id, zone = body.get("portalId"), to_zone(body)
        if not isinstance(portal_id, int | str) or zone is None:
            raise not_promised("the account details")
        return Account(str(portal_id), str(body.get("accountType") or "unknown"), zone)

    def scopes(self, token: str) -> frozenset[str]:
        """Return what a private app token or service key may do.

        Args:
            token: in the body, as HubSpot wants it; the one that the transport sends.
        """
        body = self.transport.request("POST", _TOKEN_INFO, {"tokenKey": token}, tries=1)
        scopes = body.get("scopes")
        if not isinstance(scopes, list):
            raise not_promised("the token's scopes")
        return frozenset(map(str, scopes))

    def account_is_full(self) -> bool:
        """Tell whether the account holds all the contacts that it may (HubSpot's limits API).

        False also where HubSpot does not say: the endpoint's scopes are not ours to demand.
        """
        try:
            body = self.transport.request("GET", self._paths.limits, tries=1)
        except (HubSpotDenied, ContactRejected, NotFound, Conflict, Unavailable) as trouble:
            log.info("HubSpot does not say how many contacts the account may hold: %s", trouble)
            return False
        return is_full(body)

    def read_properties(self, names: Collection[str]) -> dict[str, PropertyDefinition]:
        """Return the definitions of those of these contact properties that the portal has.

        A request takes a hundred names, as in HubSpot's other batches.
        """
        wanted = list(names)
        found: dict[str, PropertyDefinition] = {}
        for start in range(0, len(wanted), MOST_INPUTS):
            found |= self._read_definitions(wanted[start : start + MOST_INPUTS])
        return found

    def _read_definitions(self, names: Sequence[str]) -> dict[str, PropertyDefinition]:
        body = self.transport.request(
            "POST",
            f"{self._paths.properties}/batch/read",
            {"archived": False, "inputs": [{"name": name} for name in names]},
        )
        results = body.get("results")
        if not isinstance(results, list):
            raise not_promised("the properties")
        return {found.name: found for found in map(to_definition, results)}

    def has_archived_property(self, name: str) -> bool:
        """Tell whether the portal has this property in its bin, with its old values."""
        try:
            self.transport.request(
                "GET", f"{self._paths.properties}/{quote(name)}", params={"archived": "true"}
            )
        except NotFound:
            return False
        return True

    def create_property(self, wanted: CustomProperty) -> None:
        """Create a contact property.

        Raises:
            Conflict: it exists.
        """
        body = self.transport.request(
            "POST",
            self._paths.properties,
            {
                "name": wanted.name,
                "label": wanted.label,
                "type": wanted.type,
                "fieldType": wanted.field_type,
                "groupName": self.object_type.group,
            }
            | ({"options": _options(wanted)} if wanted.options else {}),
            repeatable=False,
        )
        if to_definition(body).name != wanted.name:
            raise not_promised("the property")

    def _read(
        self, key: str, properties: Collection[str], params: Mapping[str, str]
    ) -> HubSpotRecord | None:
        wanted = ",".join(self._asked(properties))
        try:
            body = self.transport.request(
                "GET",
                f"{self._paths.records}/{key}",
                params={"properties": wanted, **params},
                check=to_record,
            )
        except NotFound:
            return None
        return to_record(body)

    def _asked(self, properties: Collection[str]) -> list[str]:
        """Return what is asked of a record: what it is known by, and these properties."""
        keys = (self.object_type.key_property, self.object_type.more_keys_property)
        return list(dict.fromkeys((*keys, *properties)))

    def _refusals(self, body: Mapping[str, object]) -> list[Refusal]:
        """Read the `errors` of a batch answer, each with the correlation id of the answer."""
        refusals = []
        errors = body.get("errors")
        for entry in errors if isinstance(errors, list) else []:
            if isinstance(entry, Mapping):
                error = refusal_of_item(entry, self._custom_properties)
                if isinstance(error, ContactRejected):
                    given_id = error.correlation_id or self.transport.correlation_id
                    error = error.but(correlation_id=given_id)
                context = entry.get("context")
                named = context if isinstance(context, Mapping) else {}
                refusals.append(
                    Refusal(
                        error=error,
                        trace_ids=to_texts(named.get("objectWriteTraceId")),
                        record_ids=to_texts(named.get("ids")),
                    )
                )
        return refusals


def _options(wanted: CustomProperty) -> list[dict[str, object]]:
    return [
        {"label": label, "value": value, "displayOrder": order, "hidden": False}
        for order, (value, label) in enumerate(wanted.options)
    ]
