"""The endpoints that tell about the account: its details, its limits, what its token may do."""

from datetime import datetime, timedelta

from hubspot_sync.hubspot.emulator.account import Account
from hubspot_sync.hubspot.emulator.answers import Answer, unauthenticated
from hubspot_sync.hubspot.emulator.portal import Portal
from hubspot_sync.hubspot.emulator.request import Request

_CONTACT_MAXIMUM = 15_000_000


class AccountEndpoints:
    """Each public method answers one endpoint, under the account's lock."""

    def __init__(self, account: Account, portal: Portal) -> None:
        self._account = account
        self._portal = portal

    def account_details(self, _: Request) -> Answer:
        """Tell whose account it is, and in which time zone its day ends."""
        now = datetime.fromtimestamp(self._account.clock(), self._account.zone())
        offset = now.utcoffset() or timedelta()
        details = {
            "portalId": self._account.portal_id,
            "accountType": "DEVELOPER_TEST",
            "timeZone": self._account.time_zone,
            "companyCurrency": "USD",
            "additionalCurrencies": [],
            "utcOffset": now.isoformat()[-6:],
            "utcOffsetMilliseconds": int(offset.total_seconds() * 1000),
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "na1",
        }
        return Answer(200, details)

    def record_limits(self, _: Request) -> Answer:
        """Tell how many contacts it holds, and how many it may hold."""
        most = self._account.contact_quota
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
        return Answer(200, {"hubspotDefinedObjectTypes": [contacts]})

    def token_info(self, request: Request) -> Answer:
        """Tell what the token in the body may do; the request itself needs none."""
        if request.body.get("tokenKey") != self._account.token:
            raise unauthenticated()
        scopes = sorted(self._account.granted_scopes())
        account = self._account
        ids = {"userId": account.user_id, "hubId": account.portal_id, "appId": account.app_id}
        return Answer(200, {**ids, "scopes": scopes})
