"""The endpoints that HubSpot does not have: they preload the emulator, break it and look inside."""

from dataclasses import fields

from hubspot_sync.hubspot.emulator.account import Account
from hubspot_sync.hubspot.emulator.answers import Answer, bad_json
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
        additional = request.body.get("additional_emails", ())
        added = self._account.add_contact(written(request.body), additional_emails=additional)
        return Answer(201, {"id": added})

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
