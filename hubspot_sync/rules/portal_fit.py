"""The mapping beside the portal's own definitions: fitted to them, and what does not fit.

The built-in mapping is lenient: it takes what the portal has. A mapping of somebody's own names
properties and types that must be there as it says, so all that is not is told at once, before
anything is written.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.invalid import Invalid
from hubspot_sync.rules.mapping import (
    CustomProperty,
    Field,
    PropertyDefinition,
    PropertyMapping,
)
from hubspot_sync.rules.value_types import TypeSpec, ValueType, written
from hubspot_sync.sentences import Message


def differences(wanted: CustomProperty, found: PropertyDefinition) -> list[Message]:
    """Name what HubSpot's property has otherwise than `create-properties` would make it."""
    told = []
    if found.type != wanted.type:
        told.append(Message(ErrorCode.PROPERTY_TYPE, found=found.type, wanted=wanted.type))
    if found.field_type != wanted.field_type:
        told.append(
            Message(ErrorCode.PROPERTY_FIELD_TYPE, found=found.field_type, wanted=wanted.field_type)
        )
    if found.read_only:
        told.append(Message(ErrorCode.PROPERTY_READ_ONLY))
    lacking = [value for value, _ in wanted.options if value not in found.options]
    if lacking:
        told.append(Message(ErrorCode.PROPERTY_LACKS_OPTIONS, options=", ".join(lacking)))
    return told


def fitted(mapping: PropertyMapping, found: Mapping[str, PropertyDefinition]) -> PropertyMapping:
    """Fit a mapping to the property definitions that the portal really has."""
    return replace(
        mapping,
        fields=tuple(
            replace(each, fitted=_fitted_spec(each.type, found.get(each.property_name)))
            for each in mapping.fields
        ),
        read_only=frozenset(name for name, definition in found.items() if definition.read_only),
    )


def type_of(definition: PropertyDefinition) -> ValueType | None:
    """Return how the values of a portal's property are written; None for as they are."""
    if definition.type == "enumeration":
        match definition.field_type:
            case "checkbox":
                return ValueType.MULTI_CHECKBOX
            case "booleancheckbox":
                return ValueType.BOOL
    return _TYPES.get(definition.type)


_TYPES = {
    "string": ValueType.STRING,
    "phone_number": ValueType.STRING,
    "number": ValueType.NUMBER,
    "bool": ValueType.BOOL,
    "date": ValueType.DATE,
    "datetime": ValueType.DATETIME,
    "enumeration": ValueType.ENUMERATION,
}


def _fitted_spec(spec: TypeSpec, found: PropertyDefinition | None) -> TypeSpec:
    if found is None:
        return spec
    # A bool's options are true and false, whatever they are called.
    allowed = frozenset(found.options) if found.options else None
    return replace(spec, type=spec.type or type_of(found), allowed=allowed)


def faults_against(mapping: PropertyMapping, found: Mapping[str, PropertyDefinition]) -> list[str]:
    """Say everything in which a portal does not have what a mapping fills.

    Args:
        mapping: as it was read.
        found: by name, those of its properties that the portal has.

    Returns:
        A sentence each, with the place in the mapping; none for the built-in mapping but that a
        property of our own is missing.
    """
    if mapping.file is None:
        return [
            f"HubSpot has no contact property {name}: run hubspot-sync create-properties."
            for name in mapping.checked_properties
            if name not in found
        ]
    return [
        f"{place_of(mapping, line)}: {words}"
        for line in mapping.fields
        for words in _faults_of(line, found.get(line.property_name))
    ]


def place_of(mapping: PropertyMapping, line: Field) -> str:
    """Return where the mapping has a line, for a message."""
    if mapping.file is None:
        return line.property_name
    return f"{mapping.file}, line {line.line}, {line.property_name}"


def _faults_of(line: Field, found: PropertyDefinition | None) -> Iterator[str]:
    if found is None:
        fix = "run hubspot-sync create-properties" if line.create else "correct it, or make one"
        yield f"HubSpot has no contact property with that name; {fix}."
        return
    if found.archived:
        yield "the property is archived in HubSpot; restore it there, or remove the line."
    if found.read_only:
        yield "the property is read-only in HubSpot; remove the line."
    if line.type.type is not None and not _fits(line.type.type, found):
        kind = f"{found.type} ({found.field_type})"
        yield f"its type in HubSpot is {kind}, and the mapping writes it as {line.type.type}."
    else:
        yield from _value_faults(line, found)


def _fits(wanted: ValueType, found: PropertyDefinition) -> bool:
    return type_of(found) is wanted


def _value_faults(line: Field, found: PropertyDefinition) -> Iterator[str]:
    spec = _fitted_spec(line.type, found)
    if spec.type in (ValueType.ENUMERATION, ValueType.MULTI_CHECKBOX) and spec.allowed is not None:
        lacking = sorted({theirs for _, theirs in spec.options} - spec.allowed)
        if lacking:
            yield f"HubSpot lacks the options {', '.join(map(repr, lacking))} of this property."
    if line.constant is not None:
        constant = written(line.constant, spec, line.transform)
        if isinstance(constant, Invalid):
            yield f"its constant {constant}."
