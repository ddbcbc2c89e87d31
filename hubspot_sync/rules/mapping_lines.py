"""The mapping in force in words, line by line: for people, and for programs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hubspot_sync.rules.mapping import Field, OnInvalid, PropertyDefinition, PropertyMapping
from hubspot_sync.rules.value_types import ValueType


@dataclass(frozen=True, slots=True)
class MappingLine:
    """One line of the mapping.

    Attributes:
        field: the line itself.
        origin: where its value comes from, as the file says it.
        shaped: its transforms and its type; empty where the value travels as it is.
        found: the property as HubSpot has it; None where it does not, or was not asked.
        is_asked: whether HubSpot was asked.
        write: when it is sent to a record that exists.
    """

    field: Field
    origin: str
    shaped: str
    found: PropertyDefinition | None
    is_asked: bool
    write: str

    @property
    def portal_type(self) -> str:
        """The property's type in HubSpot, with its form field."""
        if self.found is not None:
            read_only = ", read-only" if self.found.read_only else ""
            return f"{self.found.type} ({self.found.field_type}{read_only})"
        return "missing" if self.is_asked else "not asked"


def mapping_lines(
    mapping: PropertyMapping, found: Mapping[str, PropertyDefinition] | None
) -> list[MappingLine]:
    """Return the lines of a mapping in words.

    Args:
        mapping: as it was read.
        found: by name, what HubSpot says of its properties; None where it was not asked.
    """
    return [
        MappingLine(
            field=each,
            origin=_origin(each),
            shaped=", ".join(_shaped(each)),
            found=(found or {}).get(each.property_name),
            is_asked=found is not None,
            write=f"{each.write}, stamp" if each.stamp else str(each.write),
        )
        for each in mapping.fields
    ]


def _origin(line: Field) -> str:
    if line.column is not None:
        return line.column
    if line.generated is not None:
        return f"value {line.generated}"
    if line.lookup is not None:
        return f"lookup {line.lookup}"
    return f"constant {line.constant}"


def _shaped(line: Field) -> Iterable[str]:
    yield from map(str, line.transform)
    if line.type.type is not None:
        appends = line.type.appends and line.type.type is ValueType.MULTI_CHECKBOX
        yield f"{line.type.type} (append)" if appends else str(line.type.type)
    if line.type.format:
        yield line.type.format
    if line.on_invalid is OnInvalid.DROP:
        yield "dropped if invalid"
