"""What a field's `create` says: the property that `create-properties` makes."""

from collections.abc import Mapping

from hubspot_sync.config.toml_page import Table, one_of, shown
from hubspot_sync.rules.mapping import CustomProperty, PropertyDefinition
from hubspot_sync.rules.portal_fit import type_of
from hubspot_sync.rules.value_types import TypeSpec

# HubSpot's pairs of type and form field (HubSpot docs, "Properties"), without those for files and
# calculations, which nobody fills.
_FIELD_TYPES: Mapping[str, tuple[str, ...]] = {
    "string": ("text", "textarea", "html", "phonenumber"),
    "number": ("number",),
    "bool": ("booleancheckbox",),
    "date": ("date",),
    "datetime": ("date",),
    "enumeration": ("select", "radio", "checkbox", "booleancheckbox"),
}

_BOOL_OPTIONS = (("true", "Yes"), ("false", "No"))


def read_created(table: Table, name: str, spec: TypeSpec) -> CustomProperty:
    """Read a `create`; what is wrong with it is kept with the page.

    Args:
        table: it.
        name: the property's internal name.
        spec: how the field is written.
    """
    for needed in ("type", "field_type", "label"):
        if needed not in table:
            table.fault("", f"lacks {needed}; it has type, field_type and label.")
    types = tuple(_FIELD_TYPES)
    kind = table.text("type", check=lambda text: text in types, may_be=one_of(types))
    fitting = _FIELD_TYPES.get(kind, ())
    field_type = table.text(
        "field_type",
        check=lambda text: not fitting or text in fitting,
        may_be=f"{one_of(fitting)} for type {kind}" if fitting else "a form field of HubSpot's",
    )
    label = table.text("label", may_be="what people see in HubSpot")
    options = _created_options(table, kind, spec)
    table.end("create")
    made = CustomProperty(name, kind, field_type, label, options)
    if kind and field_type:
        _compare(table, made, spec)
    return made


def _created_options(table: Table, kind: str, spec: TypeSpec) -> tuple[tuple[str, str], ...]:
    options = _read_options(table)
    if kind == "bool":
        options = options or _BOOL_OPTIONS
        if {value for value, _ in options} != {"true", "false"}:
            table.fault("options", "of a bool are true and false, each with its label.")
        return options
    theirs = dict.fromkeys(value for _, value in spec.options)
    if kind != "enumeration":
        if options:
            table.fault("options", "goes with type enumeration alone.")
        return ()
    options = options or tuple((value, value) for value in theirs)
    lacking = [value for value in theirs if value not in dict(options)]
    if not options and "options" not in table:
        table.fault("", "lacks options, which an enumeration has.")
    elif lacking:
        table.fault("options", f"lack {', '.join(map(shown, lacking))}, which the field sends.")
    return options


def _compare(table: Table, made: CustomProperty, spec: TypeSpec) -> None:
    kind = type_of(PropertyDefinition(made.name, made.type, made.field_type))
    if spec.type is not None and kind is not spec.type:
        table.fault(
            "type",
            f"makes a property that takes {kind}, and the field is written as {spec.type}.",
        )


def _read_options(table: Table) -> tuple[tuple[str, str], ...]:
    """Read the options of a new property: values alone, or a table from values to labels."""
    may_be = "a list of values, or a table from values to labels"
    listed = table.take("options")
    if isinstance(listed, list) and listed:
        return tuple((value, value) for value in table.texts("options", may_be=may_be))
    return table.pairs("options", may_be=may_be)
