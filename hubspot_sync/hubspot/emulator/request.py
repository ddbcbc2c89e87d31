"""One HTTP request as it is read: its query, its body, the inputs of a batch."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import parse_qs

from hubspot_sync.hubspot.emulator.answers import ApiError, Json, bad_json, invalid
from hubspot_sync.hubspot.emulator.definitions import DEFAULT_PROPERTIES

_BATCH_MAXIMUM = 100

# What a body of the wrong shape raises; instead of a check for each, they are HubSpot's 400.
MISFITS = (AttributeError, KeyError, TypeError, ValueError, re.error)


@dataclass
class Request:
    """One HTTP request; `path` is as sent, with its query string."""

    method: str
    path: str
    authorization: str
    text: str
    version: str = ""
    key: str = ""

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters of the query string; the values of one given twice are joined."""
        return {name: ",".join(v) for name, v in parse_qs(self.path.partition("?")[2]).items()}

    @cached_property
    def body(self) -> Json:
        """The JSON object that was sent; to look at one that cannot be read raises the refusal."""
        try:
            return dict(json.loads(self.text))
        except json.JSONDecodeError as error:
            raise bad_json(error.msg, line=error.lineno, column=error.colno) from None

    @cached_property
    def inputs(self) -> list[Json]:
        """The inputs of a batch; to look at too many raises the refusal."""
        inputs = [dict(item) for item in self.body["inputs"]]
        if len(inputs) > _BATCH_MAXIMUM:
            raise invalid(
                "The maximum number of inputs supported in a batch is 100. "
                "Please reduce the number of items and try again"
            )
        return inputs

    def input_count(self) -> int:
        """Return how many inputs there are, 0 where they cannot be read."""
        try:
            return len(self.inputs)
        except (ApiError, *MISFITS):
            return 0

    def names(self) -> Sequence[str]:
        """Return the properties that a read asks for.

        Seen: to ask for histories alone shows none of the usual properties; a GET shows the values
        of the properties it asks histories of, a batch does not.
        """
        asked, history = self._listed("properties"), self.history_names()
        if history:
            return [*asked, *history] if self.method == "GET" else asked
        return asked or DEFAULT_PROPERTIES

    def history_names(self) -> list[str]:
        """Return the properties whose history a read asks for."""
        return self._listed("propertiesWithHistory")

    def _listed(self, parameter: str) -> list[str]:
        if self.method == "GET":
            return [name for name in self.query.get(parameter, "").split(",") if name]
        return list(self.body.get(parameter) or ())


def written(item: Json) -> dict[str, str]:
    """Return an input's property values as text; HubSpot takes numbers and booleans too."""
    properties: Json = item.get("properties", {})
    for name, value in properties.items():
        if not isinstance(value, str | int | float):
            # What a null does is not documented: better found out here than in a portal.
            raise bad_json(f"the value of property {name} must be a string")
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in properties.items()
    }


def refuse_duplicates(ids: Sequence[str]) -> None:
    """Refuse a batch that names a record twice."""
    duplicates = [key for key in dict.fromkeys(ids) if ids.count(key) > 1]
    if duplicates:
        message = f"Duplicate IDs found in batch input: [{', '.join(duplicates)}]"
        raise invalid(f"{message}. IDs must be unique", context={"ids": duplicates})
