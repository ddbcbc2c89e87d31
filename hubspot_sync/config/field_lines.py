"""The lines of `[fields]`: which property is filled from what, how it is shaped, when written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from enum import StrEnum
from importlib.util import find_spec

from hubspot_sync.config.created_properties import read_created
from hubspot_sync.config.toml_page import Table, hint_for, is_printable, one_of, shown
from hubspot_sync.rules.invalid import Invalid
from hubspot_sync.rules.mapping import (
    CLEARING_POLICIES,
    CONTACTS,
    CustomProperty,
    Field,
    Generated,
    NullPolicy,
    OnInvalid,
    WritePolicy,
)
from hubspot_sync.rules.source import Value
from hubspot_sync.rules.transforms import (
    MAY_BE,
    Transform,
    TransformName,
    knows_region,
    read_transform,
)
from hubspot_sync.rules.value_types import FALSE, SEPARATOR, TRUE, TypeSpec, ValueType, written

NEEDS_HISTORY = (
    "is 'if-ours', which goes by the history of what was written, and there is no history; use "
    "if-empty."
)
"""Said of a policy that cannot be kept."""

ORIGINS = ("column", "constant", "value", "lookup")

_PROPERTY_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_YEAR = re.compile(r"%[YyGcx]")
_SAMPLE = datetime(2026, 11, 24, 13, 5, 9, tzinfo=UTC)

_KEYS_OF_TYPES: Mapping[str, tuple[ValueType, ...]] = {
    "true": (ValueType.BOOL,),
    "false": (ValueType.BOOL,),
    "format": (ValueType.DATE, ValueType.DATETIME),
    "options": (ValueType.ENUMERATION, ValueType.MULTI_CHECKBOX),
    "split": (ValueType.MULTI_CHECKBOX,),
    "mode": (ValueType.MULTI_CHECKBOX,),
}

_TYPES_OF_VALUES: Mapping[Generated, tuple[ValueType, ...]] = {
    Generated.TODAY: (ValueType.DATE, ValueType.DATETIME, ValueType.STRING),
    Generated.NOW: (ValueType.DATETIME, ValueType.DATE, ValueType.STRING),
    Generated.RUN_ID: (ValueType.STRING,),
}


class _Mode(StrEnum):
    REPLACE = "replace"
    APPEND = "append"


@dataclass(frozen=True, slots=True)
class Around:
    """What the rest of the file means for a line.

    Attributes:
        write: the default policy.
        null: the default for empty values.
        queue: the columns of the queue.
        zone: where times without a zone are meant.
        lookups: the names of the lookups.
        has_history: whether what we wrote is kept.
    """

    write: WritePolicy
    null: NullPolicy
    queue: tuple[str, ...]
    zone: tzinfo | None
    lookups: frozenset[str]
    has_history: bool


def read_fields(table: Table, around: Around) -> tuple[Field, ...]:
    """Read all lines; what is wrong with them is kept with the page."""
    if not table.keys:
        table.page.fault((), "[fields] is missing or empty; it says which properties are filled.")
    return tuple(_Line(table, name, around).read() for name in table.keys)


class _Line:
    """One line on its way to a `Field`."""

    def __init__(self, fields: Table, name: str, around: Around) -> None:
        self._name = name
        self._around = around
        self._table = fields.table(name)

    def read(self) -> Field:
        table = self._table
        self._check_name()
        transform, spec = self._transform(), self._spec()
        line = Field(
            property_name=self._name,
            column=self._column(),
            transform=transform,
            constant=self._constant(spec, transform),
            generated=self._generated(spec, transform),
            lookup=self._lookup(),
            type=spec,
            on_invalid=table.word("on_invalid", OnInvalid) or OnInvalid.REJECT,
            write=self._write(),
            null=self._null(),
            stamp=table.flag("stamp"),
            create=self._create(spec),
            line=table.page.line_of(table.path),
        )
        table.end("a field")
        self._check_origin()
        return line

    def _check_name(self) -> None:
        if self._name in (CONTACTS.key_property, CONTACTS.more_keys_property):
            self._table.fault(
                "",
                "cannot be a field: the address is what contacts are matched by. Name its column "
                "under [source] as email.",
            )
        elif not _PROPERTY_NAME.fullmatch(self._name):
            self._table.fault(
                "",
                "is not HubSpot's internal name of a property: lower-case letters, digits and _, "
                "beginning with a letter.",
            )

    def _check_origin(self) -> None:
        given = [each for each in ORIGINS if each in self._table]
        if not given and self._table.keys:
            self._table.fault("", f"does not say where its value comes from: {one_of(ORIGINS)}.")
        elif not given:
            self._table.fault("", f"must be a table with {one_of(ORIGINS)}.")
        elif len(given) > 1:
            self._table.fault("", f"has {' and '.join(given)}; its value comes from one of them.")

    # Where the value comes from

    def _column(self) -> str | None:
        column = self._table.text("column", may_be="the name of a column")
        if column in self._around.queue:
            self._table.fault(
                "column",
                f"is {shown(column)}, a column of the queue, which changes with each delivery.",
            )
        return column or None

    def _constant(self, spec: TypeSpec, transform: tuple[Transform, ...]) -> Value:
        found = self._table.take("constant")
        if found is None:
            return None
        value = _to_value(found)
        if value is None:
            self._table.fault(
                "constant",
                f"is {shown(found)}; it must be a text, a number, a date, true, false or a list of "
                "texts.",
            )
            return None
        constant = written(value, spec, transform)
        if isinstance(constant, Invalid):
            self._table.fault("constant", f"cannot be written: {constant}.")
        elif not constant:
            self._table.fault("constant", "is nothing once it is shaped; take the line out.")
        return value

    def _generated(self, spec: TypeSpec, transform: tuple[Transform, ...]) -> Generated | None:
        generated = self._table.word("value", Generated)
        if generated is None:
            return None
        types = _TYPES_OF_VALUES[generated]
        if spec.type is not None and spec.type not in types:
            self._table.fault(
                "type", f"is {spec.type}; for {generated} it must be {one_of(types)}."
            )
        if transform:
            self._table.fault("transform", "shapes what a column holds, and not a value.")
        return generated

    def _lookup(self) -> str | None:
        lookup = self._table.text("lookup", may_be="a lookup and a column, as domain.name")
        name, dot, column = lookup.partition(".")
        if not lookup:
            return None
        if not dot or not name or not column.strip():
            self._table.fault(
                "lookup", f"is {shown(lookup)}; it must be a lookup and a column, as domain.name."
            )
        elif name not in self._around.lookups:
            hint = hint_for(name, self._around.lookups)
            self._table.fault(
                "lookup", f"is {shown(lookup)}, and there is no [lookup.{name}].{hint}"
            )
        return lookup

    # How it is shaped

    def _transform(self) -> tuple[Transform, ...]:
        steps = []
        for text in self._table.texts("transform", may_be="a list of transforms"):
            step = read_transform(text)
            if step is None:
                hint = hint_for(text, list(TransformName))
                self._table.fault("transform", f"has {shown(text)}; each must be {MAY_BE}.{hint}")
            elif step.name is TransformName.PHONE_E164:
                self._check_phone(step)
            if step is not None:
                steps.append(step)
        return tuple(steps)

    def _check_phone(self, step: Transform) -> None:
        if find_spec("phonenumbers") is None:
            self._table.fault(
                "transform",
                f"has {shown(str(step))}, which needs a library that is not installed: "
                "pip install 'hubspot-sync[phone]'.",
            )
        elif not knows_region(step.argument):
            self._table.fault(
                "transform",
                f"has {shown(str(step))}, and there is no country {step.argument}; use the two "
                "letters of ISO 3166, as in phone-e164:DE.",
            )

    def _spec(self) -> TypeSpec:
        table = self._table
        kind = table.word("type", ValueType)
        for key, kinds in _KEYS_OF_TYPES.items():
            # A type that is none was named already.
            if key in table and kind not in kinds and (kind or "type" not in table):
                table.fault(key, f"goes with type {one_of(kinds)} alone.")
        true, false = self._words("true", TRUE), self._words("false", FALSE)
        both = [each for each in true if each in false]
        if both:
            table.fault("true", f"and false have both {', '.join(map(shown, both))}.")
        return TypeSpec(
            type=kind,
            true=true,
            false=false,
            format=self._format(kind),
            zone=self._around.zone,
            options=table.pairs("options", may_be="a table from our options to HubSpot's"),
            split=self._split(),
            appends=table.word("mode", _Mode) is _Mode.APPEND,
        )

    def _split(self) -> str:
        split = self._table.take("split")
        if split is None:
            return SEPARATOR
        if isinstance(split, str) and split:
            return split
        self._table.fault("split", f"is {shown(split)}; it must be what stands between options.")
        return SEPARATOR

    def _words(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        words = tuple(each.strip().lower() for each in self._table.texts(key))
        if not words:
            return default
        return words

    def _format(self, kind: ValueType | None) -> str | None:
        pattern = self._table.text("format", may_be="a pattern such as %d.%m.%Y")
        if not pattern:
            return None
        if not _YEAR.search(pattern) or not _can_be_read(pattern):
            self._table.fault(
                "format",
                f"is {shown(pattern)}; it must be a pattern such as %d.%m.%Y, with the year.",
            )
        elif kind is ValueType.DATETIME and "%z" not in pattern and self._around.zone is None:
            self._table.fault(
                "format",
                f"is {shown(pattern)}, which names no time zone: add %z, or timezone under "
                "[source].",
            )
        return pattern

    # When it is written

    def _write(self) -> WritePolicy:
        write = self._table.word("write", WritePolicy)
        if write is WritePolicy.IF_OURS and not self._around.has_history:
            self._table.fault("write", NEEDS_HISTORY)
        return write or self._around.write

    def _null(self) -> NullPolicy:
        """Return what empty values do; a default that means nothing here is passed over."""
        null = self._table.word("null", NullPolicy)
        if (null or self._around.null) is NullPolicy.KEEP:
            return NullPolicy.KEEP
        if "column" not in self._table and "lookup" not in self._table and null is None:
            return NullPolicy.KEEP
        write = self._table.take("write") or self._around.write
        key = "null" if null else ""
        told = "is 'clear'" if null else "has null = 'clear' from [defaults]"
        if "column" not in self._table:
            self._table.fault(key, f"{told}, which only a column can have; set null = 'keep'.")
        elif write not in CLEARING_POLICIES:
            self._table.fault(
                key, f"{told}, which goes with write {one_of(CLEARING_POLICIES)} alone; set keep."
            )
        return NullPolicy.CLEAR

    def _create(self, spec: TypeSpec) -> CustomProperty | None:
        if "create" not in self._table:
            self._table.take("create")
            return None
        return read_created(self._table.table("create"), self._name, spec)


def _to_value(found: object) -> Value:
    """Return a constant; None where it cannot be one."""
    match found:
        case str() if is_printable(found):
            return found
        case bool() | int() | date() | datetime():
            return found
        case Decimal() if found.is_finite():
            return found
        case list() if found and all(isinstance(each, str) and each.strip() for each in found):
            return tuple(found)
    return None


def _can_be_read(pattern: str) -> bool:
    try:
        datetime.strptime(_SAMPLE.strftime(pattern), pattern)  # noqa: DTZ007 - only whether it can
    except (ValueError, re.error):
        return False
    return True
