"""docs/messages.md has every message of trouble of the program, and no other.

The program's syntax trees are searched for the places where a message begins its way to a person:
an error of `errors.py`, a warning, a check of `doctor`, what is written into a contact's row. What
such a place is given is followed to its words, through names, conditions and functions. Where it
cannot be followed, the test wants to be told why: see `SOURCES` and `PASSED_ON`.
"""

import ast
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, product
from typing import NamedTuple

import pytest

from hubspot_sync.settings import known_names
from tests.test_project import COMMANDS, PACKAGE, README, ROOT, parse_as_command, table_rows

PAGE_PATH = ROOT / "docs" / "messages.md"
PAGE = PAGE_PATH.read_text(encoding="utf-8")

FILLED_IN = "…"
SHORTEST_START = 12
"""A row with fewer characters than this is the whole of its message."""
FEWEST_WORDS = 3
"""Strings of fewer words are no sentence of a function in `SOURCES`."""
DEEPEST = 12
MOST_FORMS = 64

USAGE = "Settings and usage"
HUBSPOT = "The run stopped: HubSpot"
DATABASE = "The run stopped: the database"
CONTACT = "A contact's own error"
WARNINGS = "Warnings in the log and in the mail"
DESK = "doctor and status"
OWN = "Faults of the program"
GROUPS = [USAGE, HUBSPOT, DATABASE, CONTACT, WARNINGS, DESK, OWN]

ROOT_ERROR = "HubSpotSyncError"
GROUPS_OF_ERRORS = {
    "WrongUsage": USAGE,
    "Refused": USAGE,
    "DatabaseUnavailable": DATABASE,
    "RunStopped": HUBSPOT,
    ROOT_ERROR: CONTACT,
}
"""Where an error's message goes; one that is not named goes where its base does."""


class Place(NamedTuple):
    """Where a call takes a message: as which argument, by which name, and the message's group."""

    position: int
    keyword: str
    group: str


CALLS = {
    "Failed": Place(0, "message", CONTACT),
    "Stopped": Place(0, "message", CONTACT),
    "Held": Place(0, "reason", USAGE),
    "PlannedContact": Place(4, "message", CONTACT),
    "Check": Place(2, "words", DESK),
    "Reason": Place(0, "words", DESK),
    "of_nothing": Place(2, "reason", WARNINGS),
    "warn": Place(0, "sentence", WARNINGS),
    "warning": Place(0, "msg", WARNINGS),
    "error": Place(0, "msg", WARNINGS),
    "exception": Place(0, "msg", WARNINGS),
    "critical": Place(0, "msg", WARNINGS),
}
"""What takes a message, besides the errors."""

LISTS = {"faults": USAGE, "told": DESK}
"""Lists that messages are appended to, by name."""

ERROR_COLUMN = "hubspot_processing_error"

SOURCES: Mapping[str, tuple[str, str]] = {
    "cli/deliver.py _disabled": (WARNINGS, "adds to its reason the file that holds the token"),
    "hubspot/preview.py _NOT_TOLD": (CONTACT, "goes through _planned as an argument"),
    "rules/mail.py _became": (WARNINGS, "begins a line of the mail"),
    "rules/mail.py _more": (WARNINGS, "is a line of the mail"),
    "rules/mail.py _taken_over": (WARNINGS, "is a line of the mail"),
    "rules/mail.py mail_lines": (WARNINGS, "a run's reason goes into a line of the mail"),
    "rules/portal_fit.py _faults_of": (HUBSPOT, "yields the faults of a mapping's line"),
    "rules/portal_fit.py _value_faults": (HUBSPOT, "yields the faults of a line's values"),
    "rules/reaction.py _rejection": (CONTACT, "adds the administrator's rule to HubSpot's words"),
    "rules/settlement.py instead_of": (CONTACT, "its words reach the row as a replaced field"),
    "stop_reasons.py _TOO_SLOW": (HUBSPOT, "is the reason of a run that nothing else stopped"),
    "store/check_up.py _fault_of": (DESK, "its answers reach _table in a list"),
    "sync.py _notices": (WARNINGS, "they are handed over as a field of the report"),
    "sync.py Sync._report": (HUBSPOT, "the signal's words are handed over as a field"),
}
"""Functions and constants whose messages no place shows: each of their sentences counts.

To each: the group, and why they have to be named here."""

_ERRORS = "an error's own words, which were found where it is raised"
_CONTACTS_ERROR = "an outcome's own words, which were found where it is made"
_HUBSPOTS = "HubSpot's words, or the code in them"

PASSED_ON: Mapping[str, str] = {
    "cli/set_up.py _check_up": _ERRORS,
    "config/mapping_file.py load_mapping": "the one fault, which names the file",
    "config/mapping_file.py read_mapping": "the faults of a file, each with its place",
    "console/runs.py show_run": "lines of the mail, which are found by `SOURCES`",
    "doctor.py look_at_queue_health": "alarms, and an error's own words",
    "doctor.py look_at_settings": "the faults of settings",
    "hubspot/check_up.py _properties": _ERRORS,
    "hubspot/check_up.py _properties_of_file": "the faults, found by `SOURCES`",
    "hubspot/check_up.py _without_account": _ERRORS,
    "hubspot/portal.py _fit": "the faults, found by `SOURCES`",
    "hubspot/preview.py _rejected": _CONTACTS_ERROR,
    "hubspot/preview.py preview": "death notices that its caller has collected",
    "rules/advice.py reason_of": "the beginning of an error in a contact's row",
    "rules/circuit_breaker.py outcome_of": _ERRORS,
    "rules/reaction.py _refusal": _HUBSPOTS,
    "rules/settlement.py _failed": _CONTACTS_ERROR,
    "rules/settlement.py _final": _CONTACTS_ERROR,
    "rules/settlement.py _released": "the error that the row had before the claim",
    "rules/settlement.py _stopped": _CONTACTS_ERROR,
    "settings.py load_settings": "the faults, found where each is appended",
    "store/check_up.py (module)": "what the error column must take, which is no message",
    "store/check_up.py _table": "what `_fault_of` says, found by `SOURCES`",
    "store/check_up.py look_at_database": _ERRORS,
    "store/reset_copy.py _to_json": "a copy of the row's error",
    "sync.py Sync._guard": _ERRORS,
    "sync.py Sync._work_together": "exceptions that are raised again, not words",
    "worker.py Worker._conclude": "the last contact's words, where it is the rate limit",
    "worker.py Worker._end": _ERRORS,
    "worker.py Worker._stop_groups": "its argument, which is the stop's words",
    "worker.py Worker._write": _ERRORS,
}
"""Places that are given words which are no literals there, and where those come from."""

NEVER_SHOWN: Mapping[str, str] = {
    "it has the email already": "the batch lane makes an update of it at once",
}
"""Messages of errors that are always caught before a person sees them."""


@dataclass(frozen=True)
class Message:
    """A message as the source has it.

    Attributes:
        words: with `…` for what is filled in.
        group: where it belongs on the page.
        place: module and line.
    """

    words: str
    group: str
    place: str


@dataclass(frozen=True)
class Scope:
    """Where an expression stands.

    Attributes:
        key: the module, and the function or constant as `SOURCES` and `PASSED_ON` name it.
        values: what names of the function are set to.
        unknown: names whose values come from outside, or from a loop.
    """

    module: str
    key: str
    values: Mapping[str, list[ast.expr]]
    unknown: frozenset[str]


class Program:
    """The sources of a program, and the messages that they hold.

    Args:
        sources: text by the module's path.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._scopes: dict[ast.AST, Scope] = {}
        self._functions: dict[str, list[ast.FunctionDef]] = defaultdict(list)
        self._constants: dict[str, list[tuple[ast.expr, Scope]]] = defaultdict(list)
        self._named: dict[str, list[tuple[ast.AST, Scope]]] = defaultdict(list)
        self._bases: dict[str, str] = {}
        self.messages: list[Message] = []
        self.passed_on: set[str] = set()
        trees = {module: ast.parse(text) for module, text in sources.items()}
        for module, tree in trees.items():
            self._enter(module, tree)
        for tree in trees.values():
            for node in ast.walk(tree):
                for expression, group in self._given(node):
                    self._collect(expression, group, self._scopes[node])
        for key, (group, _) in SOURCES.items():
            for node, scope in self._named[key]:
                for expression in _sentences(node):
                    self._collect(expression, group, scope)

    @property
    def sources(self) -> set[str]:
        """Those of `SOURCES` that there are."""
        return {key for key in SOURCES if self._named[key]}

    def _enter(self, module: str, tree: ast.Module) -> None:
        """Take in what a module defines, and which scope each of its nodes stands in."""
        nowhere = Scope(module, f"{module} (module)", {}, frozenset())
        for node in ast.walk(tree):
            self._scopes[node] = nowhere
            if isinstance(node, ast.FunctionDef):
                self._functions[node.name].append(node)
            elif isinstance(node, ast.ClassDef) and node.bases:
                self._bases[node.name] = _name_of(node.bases[0])
        for name, function in _outermost(tree):
            scope = _scope_of(module, f"{module} {name}", function)
            self._named[scope.key].append((function, scope))
            self._scopes |= dict.fromkeys(ast.walk(function), scope)
        for name, value in chain.from_iterable(map(_assigned, tree.body)):
            self._constants[name].append((value, nowhere))
            self._named[f"{module} {name}"].append((value, nowhere))

    def _given(self, node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
        """Yield what a node is given as a message, with the message's group."""
        match node:
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                yield from ((value, CONTACT) for key, value in pairs if _is_error_column(key))
            case ast.AugAssign(target=target, value=ast.List(elts=added)):
                group = LISTS.get(_name_of(target))
                if group and not self._scopes[node].module.startswith("console/"):
                    yield from ((each, group) for each in added)
            case ast.Call(func=called, args=arguments, keywords=words):
                place = self._place_of(called)
                if place and not any(map(_is_ok, arguments)):
                    given = arguments[place.position : place.position + 1]
                    given += [word.value for word in words if word.arg == place.keyword]
                    yield from ((argument, place.group) for argument in given)

    def _place_of(self, called: ast.expr) -> Place | None:
        if isinstance(called, ast.Attribute) and called.attr == "append":
            group = LISTS.get(_name_of(called.value))
            return Place(0, "", group) if group else None
        name = _name_of(called)
        return CALLS.get(name) or self._place_of_error(name)

    def _place_of_error(self, name: str) -> Place | None:
        if name == ROOT_ERROR:
            return Place(0, "message", OWN)
        base: str | None = name
        while base is not None and base not in GROUPS_OF_ERRORS:
            base = self._bases.get(base)
        return Place(0, "message", GROUPS_OF_ERRORS[base]) if base else None

    def _collect(self, expression: ast.expr, group: str, scope: Scope) -> None:
        for words in self._words(expression, scope):
            told = " ".join(re.sub(r"%[sdr]", FILLED_IN, words).split()).removeprefix(". ")
            if re.search(r"\w", told) and not told.startswith(f"{FILLED_IN}. "):
                place = f"hubspot_sync/{scope.module}, line {expression.lineno}"
                self.messages.append(Message(told, group, place))
            else:
                self.passed_on.add(scope.key)

    def _words(
        self, expression: ast.expr, scope: Scope, depth: int = 0, *, within: bool = False
    ) -> set[str]:
        """Return the texts that an expression may have, with `…` for what cannot be known.

        Args:
            expression: what to follow.
            scope: where it stands.
            depth: how far it has been followed.
            within: whether it is filled into a text, where functions are not followed.
        """
        if depth > DEEPEST:
            return {FILLED_IN}

        def follow(inner: ast.expr, *, within: bool = within) -> set[str]:
            return self._words(inner, scope, depth + 1, within=within)

        one_of = _alternatives(expression)
        if one_of:
            return _together(map(follow, one_of))
        match expression:
            case ast.Constant(value=None):
                return set()
            case ast.Constant(value=str(text)):
                return {text}
            case ast.JoinedStr(values=parts):
                return _joined(follow(part, within=True) for part in parts)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _joined([follow(left), follow(right)])
        return self._looked_up(expression, scope, depth, within=within) or {FILLED_IN}

    def _looked_up(
        self, expression: ast.expr, scope: Scope, depth: int, *, within: bool
    ) -> set[str]:
        """Return the texts of a name, or of what a function or a property returns."""
        match expression:
            case ast.Name(id=name) if name in scope.values or name in scope.unknown:
                values = [(value, scope) for value in scope.values.get(name, ())]
                unknown = {FILLED_IN} if name in scope.unknown else set()
            case ast.Name(id=name):
                known = self._constants[name]
                own = [each for each in known if each[1].module == scope.module]
                values, unknown = own or known, set()
            case ast.Call(func=called) if not within:
                values, unknown = self._returned(_name_of(called), scope, is_property=False), set()
            case ast.Attribute(attr=name) if not within:
                values, unknown = self._returned(name, scope, is_property=True), set()
            case _:
                return set()
        found = (self._words(value, there, depth + 1, within=within) for value, there in values)
        return _together(found) | unknown

    def _returned(
        self, name: str, scope: Scope, *, is_property: bool
    ) -> list[tuple[ast.expr, Scope]]:
        functions = [each for each in self._functions[name] if _is_property(each) == is_property]
        own = [each for each in functions if self._scopes[each].module == scope.module]
        return [
            (value, self._scopes[function])
            for function in own or functions
            for value in _returns(function)
        ]


def _alternatives(expression: ast.expr) -> list[ast.expr]:
    """Return what an expression is one of, or what it shows as it is or cut off at its end."""
    match expression:
        case ast.BoolOp(op=ast.And(), values=[*_, value]):
            return [value]
        case ast.BoolOp(values=values):
            return values
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
        case ast.NamedExpr(value=value):
            return [value]
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            return [value]
        case ast.Subscript(value=value, slice=ast.Slice(lower=None)):
            return [value]
    return []


def _together(found: Iterable[set[str]]) -> set[str]:
    return set(chain.from_iterable(found))


def _name_of(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_ok(argument: ast.expr) -> bool:
    return ast.unparse(argument) == "CheckState.OK"


def _is_error_column(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == ERROR_COLUMN


def _is_property(function: ast.FunctionDef) -> bool:
    return any(_name_of(each) == "property" for each in function.decorator_list)


def _joined(parts: Iterable[set[str]]) -> set[str]:
    """Return the texts that parts make together, two filled-in ones that meet being one."""
    texts = {"".join(each) for each in product(*parts)}
    assert len(texts) <= MOST_FORMS, texts
    return {re.sub(f"{FILLED_IN}{FILLED_IN}+", FILLED_IN, text) for text in texts}


def _outermost(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the functions and methods that stand in no other function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _outermost(node, f"{prefix}{node.name}.")


def _returns(function: ast.FunctionDef) -> list[ast.expr]:
    """Return what a function returns, those within it left out."""
    inner = {
        part
        for node in ast.walk(function)
        if isinstance(node, ast.FunctionDef) and node is not function
        for part in ast.walk(node)
    }
    return [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and node.value and node not in inner
    ]


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a statement sets to something that it shows."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case ast.NamedExpr(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
            for target, each in zip(names, values, strict=True):
                yield _name_of(target), each


def _scope_of(module: str, key: str, function: ast.FunctionDef) -> Scope:
    values: dict[str, list[ast.expr]] = defaultdict(list)
    shown: set[ast.AST] = set()
    for node in ast.walk(function):
        for name, value in _assigned(node):
            values[name].append(value)
            shown.update(ast.walk(node.targets[0] if isinstance(node, ast.Assign) else node))
    # What is set by a loop, a `with` or an argument; what is added to a text stands behind it.
    added = {node.target for node in ast.walk(function) if isinstance(node, ast.AugAssign)}
    unknown = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        if node not in shown and node not in added
    }
    unknown |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    unknown |= {
        node.name or "" for node in ast.walk(function) if isinstance(node, ast.ExceptHandler)
    }
    return Scope(module, key, values, frozenset(unknown))


def _sentences(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the sentences in a function or a constant, its docstring left out."""
    if isinstance(node, ast.Constant | ast.JoinedStr):
        texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
        if len(" ".join(map(str, texts)).split()) >= FEWEST_WORDS:
            yield node
        return
    for child in node.body if isinstance(node, ast.FunctionDef) else ast.iter_child_nodes(node):
        is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if not is_docstring:
            yield from _sentences(child)


class Row(NamedTuple):
    """A row of the page.

    Attributes:
        messages: the beginnings of messages in its first cell.
    """

    group: str
    messages: list[str]
    cells: list[str]


def read_page(page: str) -> list[Row]:
    """Return the rows of a page in their order."""
    return [
        Row(heading, re.findall(r"`([^`]+)`", cells[0]), cells)
        for heading, text in re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", page, re.MULTILINE)
        for cells in table_rows(text)
    ]


def begins(row: str, message: str) -> bool:
    """Tell whether a row of the page is the beginning of a message, and long enough to be one."""
    start = start_of(row)
    is_whole = start == start_of(message)
    return is_whole or (len(start) >= SHORTEST_START and message.startswith(start))


def start_of(text: str) -> str:
    return text.removesuffix(FILLED_IN).rstrip()


def order_of(row: str) -> str:
    """Return what a row is sorted by: letters and digits alone."""
    return " ".join(re.findall(r"[^\W_]+", row.lower()))


def missing_from(messages: Iterable[Message], rows: Iterable[Row]) -> list[str]:
    """Say of each message that no row begins what to add, and where."""
    known = [start for row in rows for start in row.messages]
    return [
        f"docs/messages.md lacks a message of {message.place}: add a row that begins with "
        f"`{message.words}`, as far as it is unmistakable, to the group '{message.group}', "
        "in its place in the alphabet."
        for message in messages
        if message.words not in NEVER_SHOWN
        and not any(begins(start, message.words) for start in known)
    ]


def the_sources() -> dict[str, str]:
    """Return the program's sources; the emulator's answers are not the program's own."""
    return {
        str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
        if "emulator" not in path.parts
    }


@cache
def the_program() -> Program:
    return Program(the_sources())


ROWS = read_page(PAGE)
ON_THE_PAGE = [start for row in ROWS for start in row.messages]


def test_every_message_of_the_program_stands_on_the_page() -> None:
    messages = the_program().messages
    missing = missing_from(messages, ROWS)

    assert len({message.words for message in messages}) > 150
    assert not missing, "\n".join(missing)


def test_each_message_on_the_page_is_one_of_the_program() -> None:
    words = {message.words for message in the_program().messages}
    strange = [start for start in ON_THE_PAGE if not any(begins(start, each) for each in words)]

    assert len(ON_THE_PAGE) > 150
    assert not strange, (
        f"The program has no messages that begin with {strange}: take their rows out of "
        "docs/messages.md, or correct their words."
    )


def test_no_row_of_the_page_can_be_mistaken_for_another_message() -> None:
    words = {message.words for message in the_program().messages}
    unmistakable = [start for start in ON_THE_PAGE if not start.endswith(FILLED_IN)]
    mistaken = {start: own for start in unmistakable if len(own := begun_by(start, words)) != 1}

    assert len(unmistakable) > 100
    assert not mistaken, (
        f"{mistaken}: a row that begins several messages. Give each a row of its own in "
        "docs/messages.md, or end this one in … where one row is meant for all."
    )


def begun_by(start: str, words: Iterable[str]) -> set[str]:
    """Return how the messages go on that a row begins, and no longer row does."""
    longer = [each for each in ON_THE_PAGE if each != start and begins(start, each)]
    own = [
        each
        for each in words
        if begins(start, each) and not any(begins(other, each) for other in longer)
    ]
    return {each[len(start) :].split(" ")[0] for each in own}


@pytest.mark.parametrize("group", GROUPS)
def test_the_rows_of_a_group_are_in_alphabetical_order(group: str) -> None:
    keys = [order_of(row.messages[0]) for row in ROWS if row.group == group]

    assert keys
    assert keys == sorted(keys)
    assert len(keys) == len(set(keys)), "two rows for one message"


def test_the_groups_of_the_page_are_those_that_a_failure_names() -> None:
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == GROUPS


def test_each_row_has_a_message_where_it_is_seen_and_what_to_do() -> None:
    for row in ROWS:
        message, seen, to_do = row.cells
        assert message == ", ".join(f"`{start}`" for start in row.messages)
        assert seen, f"{message} is seen nowhere"
        assert to_do.endswith("."), f"{message}: what is to be done is no sentence"


def test_what_is_said_of_the_walk_is_still_needed() -> None:
    """A new place that cannot be followed has to be looked at, and named with its reason."""
    program = the_program()
    new = program.passed_on - set(PASSED_ON)
    words = {message.words for message in program.messages}

    assert not new, (
        f"{sorted(new)}: a message whose words cannot be followed. Write it as a literal there, or "
        "name its source in SOURCES and the place in PASSED_ON (tests/test_messages.py)."
    )
    assert set(PASSED_ON) == program.passed_on
    assert set(SOURCES) == program.sources
    assert set(NEVER_SHOWN) <= words


def test_the_settings_on_the_page_are_the_programs() -> None:
    named = set(re.findall(r"\b(?:HUBSPOT_[A-Z_]*[A-Z]|DATABASE_URL)\b", PAGE))
    cut = {name for name in named if f"{name}_{FILLED_IN}" in PAGE}

    assert len(named) > 10
    assert named - cut <= known_names()


def test_the_commands_on_the_page_are_those_that_the_program_takes() -> None:
    lines = re.findall(r"`((?:DATABASE_URL=\S+ )?hubspot-sync [^`]+)`", PAGE)
    commands = [line for line in lines if line not in ON_THE_PAGE and _is_command(line)]

    assert len(commands) > 10
    for line in commands:
        parse_as_command(f"{line} {ANY_CONTACT}" if line.endswith("sync-one") else line)


ANY_CONTACT = "6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b"


def _is_command(line: str) -> bool:
    first = line.partition("hubspot-sync ")[2].split()[0]
    return first in COMMANDS or first.startswith("--")


def test_the_links_on_the_page_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", PAGE)

    assert len(targets) > len(GROUPS)
    for target in targets:
        page, _, anchor = target.partition("#")
        document = README if page == "../README.md" else PAGE
        headings = re.findall(r"^##+ (.+)$", document, re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings]
        assert not page or (PAGE_PATH.parent / page).exists(), target
        assert anchor in anchors, target


NEW_MESSAGES = {
    "a new raise": ('raise WrongUsage("The moon is in the wrong phase.")', "The moon is in"),
    "in several literals": ('raise Refused("The moon " "is full.")', "The moon is full."),
    "with something filled in": ('raise HubSpotDown(f"Moon {phase}: wait")', "Moon …: wait"),
    "a class of its own": ("raise Eclipse('No light.')", "No light."),
    "by a condition": ('raise RunStopped("Moon up" if phase else "Moon gone")', "Moon gone"),
    "by a name": ('words = "The moon fell"\n    log.warning(words)', "The moon fell"),
    "by a function": ("raise DatabaseUnavailable(told_of(phase))", "The tide of … is in"),
    "in a log": ('log.error("the moon %s set", phase)', "the moon … set"),
    "in a mail": ('console.warn("The moon is made of cheese.")', "The moon is made"),
    "a check": ('Check("moon", CheckState.MEND, f"{phase} is odd")', "… is odd"),
    "a fault of a setting": ('self.faults.append(f"{phase} is no phase.")', "… is no phase."),
    "a contact's error": ('Failed(message="Moonstruck")', "Moonstruck"),
    "in a contact's row": ('{"hubspot_processing_error": "Moonstruck"}', "Moonstruck"),
    "the reason of a run": ('RunReport.of_nothing("x", state, "No moon.")', "No moon."),
}


@pytest.mark.parametrize(("code", "begins_with"), NEW_MESSAGES.values(), ids=NEW_MESSAGES)
def test_new_message_is_missed_on_the_page(code: str, begins_with: str) -> None:
    new = f"""
        class Eclipse(WrongUsage):
            pass

        def told_of(phase):
            return f"The tide of {{phase}} is in"

        def act(phase):
            {textwrap.indent(code, " " * 8).strip()}
    """
    errors = the_sources()["errors.py"]
    program = Program({"errors.py": errors, "moon.py": textwrap.dedent(new)})
    missing = missing_from(program.messages, ROWS)

    assert any(f"begins with `{begins_with}" in each for each in missing)
    for each in missing:
        assert "hubspot_sync/moon.py, line " in each
        assert any(f"'{group}'" in each for group in GROUPS)


def test_message_of_a_stranger_or_a_check_that_is_well_is_none() -> None:
    fine = """
        def act(phase):
            Check("moon", CheckState.OK, "shines")
            log.info("the moon rises")
            raise ValueError("no error of ours")
    """
    program = Program({"moon.py": textwrap.dedent(fine)})

    assert program.messages == []
    assert program.passed_on == set()


def test_message_that_cannot_be_followed_has_to_be_named() -> None:
    program = Program({"moon.py": "def act(phase):\n    raise WrongUsage(phase.name)"})

    assert program.passed_on == {"moon.py act"}
