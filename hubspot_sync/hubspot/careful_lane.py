"""The careful lane: one contact, step by step, each step on what HubSpot answered to the last."""

from collections.abc import Mapping, Sequence

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    HubSpotDown,
    Interrupted,
    NotFound,
    QuotaSpent,
    Signature,
    Unavailable,
)
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.rules.identity import (
    AskRenames,
    HubSpotRecord,
    Rename,
    holds_what_was_sent,
    is_record_id,
    is_same_contact,
)
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.reaction import (
    RATE_LIMITED,
    UNAVAILABLE,
    account_full,
    is_unexplained,
    not_confirmed,
    rate_limit_used_up,
)
from hubspot_sync.rules.retry import REQUEST_TRIES
from hubspot_sync.rules.settlement import Delivered, Failed, Outcome, Released, Stopped
from hubspot_sync.rules.verdict import outcome_of
from hubspot_sync.sentences import Message

Properties = Mapping[str, str]

MOST_STEPS = 6
"""Creates and updates that chase each other (409, 404, 409, …) end here."""


class CarefulLane:
    """Upserts one contact at a time.

    Args:
        client: speaks to HubSpot.
        may_be_renamed: asked last before an update that sends a new address.
    """

    def __init__(self, client: HubSpotClient, may_be_renamed: AskRenames) -> None:
        self._client = client
        self._may_be_renamed = may_be_renamed

    def deliver(
        self, contact: Contact, properties: Properties, members: Sequence[Contact] = ()
    ) -> Outcome:
        """Upsert a contact and return what became of it.

        Args:
            contact: what is delivered.
            properties: what HubSpot is told, the email included.
            members: all contacts that share the delivery, where there are others.

        Raises:
            RunStopped: nothing can be delivered to anyone now.
        """
        upsert = _Upsert(
            self._client, contact, properties, members or [contact], self._may_be_renamed
        )
        try:
            return self._outcome(upsert)
        except Interrupted as end:
            # A write whose answer is lost may have been carried out: the contact was sent.
            return Stopped(not_confirmed(end)) if upsert.wrote else Released()
        except QuotaSpent as spent:
            spent.kept_back = spent.kept_back and not upsert.wrote
            raise

    def _outcome(self, upsert: "_Upsert") -> Outcome:
        try:
            return upsert.run()
        except ContactRejected as refusal:
            return outcome_of(refusal)
        except (NotFound, Conflict) as odd:
            # Where no step expects it, a 404 or a 409 is a refusal like any other.
            code = "NOT_FOUND" if isinstance(odd, NotFound) else "CONFLICT"
            return Failed(
                Message(ErrorCode.HUBSPOT_REFUSED, words=odd.message, hubspot_code=code),
                Signature(code),
                correlation_id=odd.correlation_id,
            )
        except Unavailable as trouble:
            self.require_hubspot(trouble)
            if trouble.rate_limited:
                return Stopped(
                    rate_limit_used_up(trouble),
                    RATE_LIMITED,
                    correlation_id=trouble.correlation_id,
                )
            return Failed(
                Message(
                    ErrorCode.CONTACT_STUMBLED,
                    trouble=trouble.message,
                    words=trouble.message.data.get("hubspots_words", ""),
                ),
                UNAVAILABLE,
                correlation_id=trouble.correlation_id,
            )

    def require_hubspot(self, trouble: Unavailable) -> None:
        """Find out by one small read whether it is HubSpot that is down, or what was sent.

        Raises:
            HubSpotDown: the small read got no usable answer either.
        """
        try:
            self._client.probe()
        except Unavailable as still:
            if still.rate_limited:
                raise HubSpotDown(ErrorCode.RATE_LIMIT, trouble=still.message) from trouble
            raise HubSpotDown(
                ErrorCode.HUBSPOT_DOWN, trouble=trouble.message, still=still.message
            ) from trouble
        except (ContactRejected, NotFound, Conflict) as refusal:
            raise HubSpotDown(
                ErrorCode.HUBSPOT_UNUSABLE, trouble=trouble.message, refusal=refusal.message
            ) from trouble


class _Upsert:
    """One contact's way: found or not found, updated or created.

    Attributes:
        wrote: a write was sent whose answer did not come.
    """

    def __init__(
        self,
        client: HubSpotClient,
        contact: Contact,
        properties: Properties,
        members: Sequence[Contact],
        may_be_renamed: AskRenames,
    ) -> None:
        self._client = client
        self._members = members
        self._may_be_renamed = may_be_renamed
        self._rename: Rename | None = None
        self._contact = contact
        self._properties = properties
        self._email = properties["email"]
        self._writes_without_answer = 0
        self._refused: Conflict | NotFound | None = None
        self.wrote = False

    def run(self) -> Outcome:
        known, changes = self._find()
        for _ in range(MOST_STEPS):
            step = self._update(known, changes) if known else self._create()
            if isinstance(step, Delivered):
                return step
            known, changes = step
        raise self._odd(ErrorCode.CONTRADICTION)

    def _find(self) -> tuple[str | None, Properties]:
        """Find the record to update and what to send it."""
        found = self._client.read_by_email(self._email)
        if found is not None:
            return found.id, self._without_email
        stored_id = self._contact.hubspot_contact_id
        if stored_id and is_record_id(stored_id):
            names = self._client.names
            record = self._client.read_by_id(stored_id, (names.domain_id, names.page_id))
            if record is not None and self._email in record.emails:
                return record.id, self._without_email
            if record and any(is_same_contact(record, each, names) for each in self._members):
                # The contact has a new address, so this once the address is sent.
                members = frozenset(each.id for each in self._members)
                self._rename = Rename(record.id, record.primary_email, members)
                return record.id, self._properties
        return None, self._without_email

    def _create(self) -> Delivered | tuple[str | None, Properties]:
        try:
            created = self._client.create(self._properties)
        except Conflict as conflict:
            return self._owner(conflict), self._without_email
        except ContactRejected as refusal:
            if is_unexplained(refusal) and self._client.account_is_full():
                raise account_full(refusal) from refusal
            raise
        except Unavailable as trouble:
            return self._look_again(trouble)
        return Delivered(created, created=True)

    def _update(
        self, contact_id: str, changes: Properties
    ) -> Delivered | tuple[str | None, Properties]:
        if "email" in changes and self._rename and not self._may_be_renamed([self._rename]):
            return None, self._without_email
        try:
            updated = self._client.update(contact_id, changes)
        except NotFound as gone:
            self._refused = gone
            return self._owner_now()
        except Conflict as conflict:
            return self._owner(conflict), self._without_email
        except Unavailable as trouble:
            return self._look_at(contact_id, changes, trouble)
        except Interrupted as end:
            self.wrote = self.wrote or end.outcome_unknown
            raise
        if updated == contact_id:
            return Delivered(updated, created=False)
        return self._merged(contact_id, changes, updated)

    def _merged(
        self, contact_id: str, changes: Properties, updated: str
    ) -> Delivered | tuple[str | None, Properties]:
        """After an update that was answered under another id: a merge, or another's answer?

        A merge it is where a read by the old id is answered so too; what was sent is there then,
        however HubSpot writes it.
        """
        self.wrote = True
        found = self._client.read_by_id(contact_id, tuple(changes))
        if found is None:
            return self._owner_now()
        if found.id == updated or holds_what_was_sent(found, changes):
            return Delivered(found.id, created=False)
        return contact_id, changes

    def _look_at(self, contact_id: str, changes: Properties, trouble: Unavailable) -> Delivered:
        """After an update without a usable answer: delivered only if HubSpot shows the values."""
        self.wrote = self.wrote or trouble.outcome_unknown
        if trouble.outcome_unknown:
            found = self._client.read_by_id(contact_id, tuple(changes))
            if found is not None and holds_what_was_sent(found, changes):
                return Delivered(found.id, created=False)
        raise trouble

    def _look_again(self, trouble: Unavailable) -> Delivered | tuple[str | None, Properties]:
        """After a create whose answer was lost: ask the record store, never create blindly."""
        self.wrote = self.wrote or trouble.outcome_unknown
        self._writes_without_answer += 1
        if not trouble.outcome_unknown:
            raise trouble
        found = self._client.read_by_email(self._email, tuple(self._properties))
        if found is not None:
            return self._confirmed(found)
        if self._writes_without_answer >= REQUEST_TRIES:
            raise trouble
        self._client.transport.wait(trouble.wait_seconds, self._writes_without_answer)
        return None, self._without_email

    def _confirmed(self, record: HubSpotRecord) -> Delivered | tuple[str | None, Properties]:
        if holds_what_was_sent(record, self._properties):
            return Delivered(record.id, created=True)
        return record.id, self._without_email

    def _owner_now(self) -> tuple[str | None, Properties]:
        """Go on with the record that has the address now; without one it is created."""
        found = self._client.read_by_email(self._email)
        return (found.id if found else None), self._without_email

    def _owner(self, conflict: Conflict) -> str | None:
        """Return the record that owns the address: as HubSpot named it, else by looking it up."""
        self._refused = conflict
        if conflict.existing_id:
            return conflict.existing_id
        found = self._client.read_by_email(self._email)
        if found is None:
            raise self._odd(ErrorCode.OWNER_HIDDEN)
        return found.id

    def _odd(self, code: ErrorCode) -> Unavailable:
        """Return the error of answers that do not fit together, with HubSpot's last refusal."""
        refused = self._refused
        odd = Unavailable(code, words=refused.message if refused else "no reason given")
        odd.correlation_id = refused.correlation_id if refused else None
        return odd

    @property
    def _without_email(self) -> Properties:
        return {name: value for name, value in self._properties.items() if name != "email"}
