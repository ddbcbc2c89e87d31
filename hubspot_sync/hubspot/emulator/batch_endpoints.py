"""The endpoints of up to a hundred contacts at a time."""

from collections.abc import Callable, Sequence

from hubspot_sync.hubspot.emulator.account import Account
from hubspot_sync.hubspot.emulator.answers import (
    Answer,
    ApiError,
    Json,
    batch_answer,
    invalid,
    not_unique,
)
from hubspot_sync.hubspot.emulator.portal import Portal
from hubspot_sync.hubspot.emulator.records import Records
from hubspot_sync.hubspot.emulator.request import Request, refuse_duplicates, written
from hubspot_sync.hubspot.emulator.values import normal_email

_TRACE = "objectWriteTraceId"
_HISTORY_MAXIMUM = 50


class BatchEndpoints:
    """Each public method answers one endpoint, under the account's lock."""

    def __init__(self, account: Account, portal: Portal, records: Records) -> None:
        self._account = account
        self._portal = portal
        self._records = records

    def read_contacts(self, request: Request) -> Answer:
        """Answer the contacts of these record ids or emails, and name what is missing."""
        id_property = request.body.get("idProperty")
        if id_property not in (None, "email"):
            raise not_unique(id_property, self._account.portal_id)
        names, history = request.names(), request.history_names()
        if history and len(request.inputs) > _HISTORY_MAXIMUM:
            raise invalid(
                "The maximum number of inputs supported in a batch request for property histories "
                f"is {_HISTORY_MAXIMUM}. Please reduce the number of items and try again"
            )
        keys = [str(item["id"]) for item in request.inputs]
        refuse_duplicates([normal_email(key) for key in keys])
        find = self._portal.find_by_email if id_property else self._portal.find
        owners = {key: find(key) for key in keys}
        missing = [key for key, owner in owners.items() if owner is None]
        # Two addresses of one contact give one result, which shows the primary one.
        found = {owner.id: owner for owner in owners.values() if owner is not None}
        results = [self._records.shown(each, names, history) for each in found.values()]
        errors = [self._not_found(missing)] if missing else []
        return batch_answer(results, errors, self._account.clock())

    def create_contacts(self, request: Request) -> Answer:
        """Create contacts: those that can be if all have trace ids, else all or none."""
        emails = [normal_email(written(item).get("email", "")) for item in request.inputs]
        refuse_duplicates([email for email in emails if email])

        def write(_: Json, values: dict[str, str]) -> Json:
            return self._records.shown(self._records.create(values, request.version), values)

        return self._batch_write(request.inputs, write, done=201)

    def update_contacts(self, request: Request) -> Answer:
        """Change contacts by record id; trace ids help as they do with `create_contacts`."""
        for item in request.inputs:
            if item.get("idProperty"):
                raise not_unique(item["idProperty"], self._account.portal_id)
        refuse_duplicates([str(item["id"]) for item in request.inputs])
        # An id that is no number, such as an email, is answered with success and changes nothing.
        inputs = [item for item in request.inputs if str(item["id"]).isdigit()]

        def write(item: Json, values: dict[str, str]) -> Json | None:
            contact = self._portal.find(str(item["id"]))
            if contact is None:
                return None
            return self._records.shown(self._records.update(contact, values), values)

        honours_trace_ids = self._account.update_multi_status
        return self._batch_write(inputs, write, honours_trace_ids=honours_trace_ids)

    def upsert_contacts(self, request: Request) -> Answer:
        """Create or change contacts by email, and say of each whether it is new."""
        for item in request.inputs:
            if item.get("idProperty") != "email":
                raise not_unique(item.get("idProperty", "hs_object_id"), self._account.portal_id)
        refuse_duplicates([normal_email(item["id"]) for item in request.inputs])

        def write(item: Json, values: dict[str, str]) -> Json:
            found = self._portal.find_by_email(item["id"])
            if found is None:
                contact = self._records.create({"email": item["id"], **values}, request.version)
            else:
                contact = self._records.update(found, values)
            return {**self._records.shown(contact, ["email", *values]), "new": found is None}

        return self._batch_write(request.inputs, write)

    def _batch_write(
        self,
        inputs: Sequence[Json],
        write: Callable[[Json, dict[str, str]], Json | None],
        *,
        done: int = 200,
        honours_trace_ids: bool = True,
    ) -> Answer:
        """Write what can be written if every input has a trace id, else all or nothing.

        `write` returns the record, or None where there is no such record.
        """
        traced = honours_trace_ids and all(item.get(_TRACE) for item in inputs)
        before = None if traced else self._portal.snapshot()
        results: list[Json] = []
        errors: list[Json] = []
        refusals: list[ApiError] = []
        missing: list[str] = []
        for item, values in [(item, written(item)) for item in inputs]:
            trace_id = item[_TRACE] if traced else None
            try:
                result = write(item, values)
            except ApiError as refusal:
                refusals.append(refusal)
                errors.append(refusal.item(self._account.portal_id, trace_id))
                continue
            if result is not None:
                echo = traced and self._account.echo_trace_ids
                results.append({**result, _TRACE: trace_id} if echo else result)
            elif traced:
                errors.append(self._not_found([item["id"]], trace_id))
            else:
                missing.append(item["id"])
        if refusals and before is not None:
            self._portal.restore(before)
            problems = [problem for refusal in refusals for problem in refusal.problems]
            raise invalid("", problems=problems) if problems else refusals[0]
        errors += [self._not_found(missing)] if missing else []
        return batch_answer(results, errors, self._account.clock(), done=done)

    def _not_found(self, ids: list[str], trace_id: str | None = None) -> Json:
        message = (
            "Could not get some CONTACT objects, they may be deleted or not exist. "
            "Check that ids are valid."
        )
        error = ApiError(404, message, "OBJECT_NOT_FOUND", item_context={"ids": ids})
        return error.item(self._account.portal_id, trace_id)
