"""The endpoints that HubSpot does not have: they preload the emulator, break it and look inside."""

from dataclasses import fields

from hubspot_sync.hubspot.emulator.account import Account
from hubspot_sync.hubspot.emulator.answers import Answer, ApiError, bad_json
from hubspot_sync.hubspot.emulator.faults import Fault
from hubspot_sync.hubspot.emulator.request import Request, written


class ControlEndpoints:
    """Each public method answers one endpoint, under the account's lock."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def show_contacts(self, _: Request) -> Answer:
        """Show what the account holds."""
        return Answer(200, {"contacts": self._account.contacts()})

    def add_contact(self, request: Request) -> Answer:
        """Put a contact there, as `Account.add_contact` does."""
        additional, user_id = request.body.get("additional_emails", ()), request.body.get("user_id")
        added = self._account.add_contact(
            written(request.body), additional_emails=additional, user_id=user_id
        )
        return Answer(201, {"id": added})

    def edit_contact(self, request: Request) -> Answer:
        """Change a contact as a person would, as `Account.edit_contact` does."""
        user_id = request.body.get("user_id")
        try:
            self._account.edit_contact(request.key, written(request.body), user_id=user_id)
        except KeyError as error:
            raise _no_contact(error) from None
        return Answer(204)

    def delete_contact(self, request: Request) -> Answer:
        """Archive a contact as a person would, as `Account.delete_contact` does."""
        self._account.delete_contact(request.key)
        return Answer(204)

    def merge_contacts(self, request: Request) -> Answer:
        """Merge `other` into `primary`, as `Account.merge_contacts` does."""
        primary, other, user_id = (
            request.body.get(name) for name in ("primary", "other", "user_id")
        )
        try:
            merged = self._account.merge_contacts(str(primary), str(other), user_id=user_id)
        except KeyError as error:
            raise _no_contact(error) from None
        return Answer(201, {"id": merged})

    def add_fault(self, request: Request) -> Answer:
        """Add a fault, of the attributes that JSON can tell."""
        told = {each.name for each in fields(Fault)} - {"reached", "release"}
        unknown = sorted(request.body.keys() - told)
        if unknown:
            known = ", ".join(sorted(told))
            raise bad_json(f"a fault has no {', '.join(unknown)} here, but: {known}")
        self._account.fault(**request.body)
        return Answer(201, request.body)

    def clear_faults(self, _: Request) -> Answer:
        """Let everything go well from now on."""
        self._account.clear_faults()
        return Answer(204)

    def show_requests(self, _: Request) -> Answer:
        """Show which requests came."""
        seen = self._account.requests
        return Answer(200, {"count": len(seen), "requests": [list(each) for each in seen]})


def _no_contact(error: KeyError) -> ApiError:
    return ApiError(404, f"There is no contact {error.args[0]}")
