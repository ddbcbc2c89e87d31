"""What the emulator answers: an answer, a refusal, and the refusals that HubSpot often gives."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import uuid4

Json = dict[str, Any]


class Answer(NamedTuple):
    """What goes back for one request: JSON, or a text that is sent as HTML."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class Problem(NamedTuple):
    """What is wrong with one property of one contact."""

    name: str
    error: str
    message: str


class ApiError(Exception):
    """A refusal, which can answer a whole request or be one item of a 207."""

    def __init__(
        self,
        status: int,
        message: str,
        category: str | None = None,
        *,
        problems: Sequence[Problem] = (),
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

    def answer(self) -> Answer:
        """Answer the request: both `message` and `errors` name the problems."""
        body: Json = {"status": "error", "message": self.message, "correlationId": str(uuid4())}
        if self.problems:
            body["message"] = self._problems_text({})
            body["errors"] = [
                {"message": message, "code": error, "context": {"propertyName": [name]}}
                for name, error, message in dict.fromkeys(self.problems)
            ]
        return Answer(self.status, body | self.more | self.category)

    def item(self, portal_id: int, trace_id: str | None = None) -> Json:
        """Return one of the errors of a 207, where only the message's text names the problems."""
        message = self._problems_text({"portalId": portal_id}) if self.problems else self.message
        traced = {"objectWriteTraceId": [trace_id]} if trace_id else {}
        item = {"status": "error", **self.category, "message": message, **self.more}
        return {**item, "context": {**self.item_context, **traced}}

    def _problems_text(self, extra: Json) -> str:
        problems = [
            {"isValid": False, "message": message, "error": error, "name": name}
            | ({"localizedErrorMessage": message, **extra} if extra else {})
            for name, error, message in self.problems
        ]
        return "Property values were not valid: " + json.dumps(problems, separators=(",", ":"))


def invalid(message: str, **more: Any) -> ApiError:
    """Refuse what was sent, as HubSpot refuses most things."""
    return ApiError(400, message, "VALIDATION_ERROR", **more)


def bad_json(reason: str, *, line: int = 1, column: int = 1) -> ApiError:
    """Refuse a body that cannot be read."""
    # HubSpot's parser errors are the one kind of 400 that carries no category.
    return ApiError(400, f"Invalid input JSON on line {line}, column {column}: {reason}")


def unauthenticated() -> ApiError:
    """Refuse a request that brings no token, or a wrong one."""
    message = (
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and "
        "you can find more details at https://developers.hubspot.com/docs/methods/auth/"
        "oauth-overview"
    )
    return ApiError(401, message, "INVALID_AUTHENTICATION")


def missing_scopes(scopes: Iterable[str]) -> ApiError:
    """Refuse a token that has none of these scopes."""
    message = (
        "This app hasn't been granted all required scopes to make this call. Read more about "
        "required scopes here: https://developers.hubspot.com/scopes."
    )
    detail = {
        "message": "One or more of the following scopes are required.",
        "context": {"requiredGranularScopes": sorted(scopes)},
    }
    return ApiError(403, message, "MISSING_SCOPES", errors=[detail])


def too_many_requests(policy: str) -> ApiError:
    """Refuse a request that goes over the limit of this name."""
    limit: Json = {"errorType": "RATE_LIMIT", "policyName": policy}
    limit |= {"requestId": str(uuid4())} if policy == "DAILY" else {"groupName": "publicapi"}
    return ApiError(429, f"You have reached your {policy.lower()} limit.", **limit)


def not_unique(name: str, portal_id: int) -> ApiError:
    """Refuse a property by which a contact cannot be named."""
    return invalid(
        f"Unable to perform update/upsert by non-unique 0-1 property {name} "
        f"in portal ID {portal_id}"
    )


def usual_answer(status: int, policy: str, scopes: Iterable[str]) -> Answer:
    """Return what HubSpot usually says with a status."""
    if status < 400:
        return Answer(status, {})
    if status > 500:
        # The proxy in front of HubSpot answers these, and it speaks HTML.
        return Answer(status, f"<html><body><h1>Error {status}</h1></body></html>")
    usual = {
        401: unauthenticated(),
        403: missing_scopes(scopes),
        404: ApiError(404, "resource not found"),
        429: too_many_requests(policy),
        500: ApiError(500, "internal error"),
    }
    # The body of a 423, a 477 or another one has not been published.
    unknown = ApiError(status, f"The request was refused with status {status}")
    return usual.get(status, unknown).answer()


def batch_answer(
    results: Sequence[Json], errors: Sequence[Json], now: float, *, done: int = 200
) -> Answer:
    """Answer a batch: with status `done` if all went well, else with a 207."""
    moment = iso(now)
    body: Json = {"status": "COMPLETE", "results": list(reversed(results))}
    if errors:
        body |= {"numErrors": len(errors), "errors": errors}
    return Answer(207 if errors else done, body | {"startedAt": moment, "completedAt": moment})


@lru_cache(1024)
def iso(seconds: float) -> str:
    """Return a moment as HubSpot writes it."""
    # Remembered, for a record shows the same moment up to four times.
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
