"""README, .env.example and crontab.example say what the program does, and the layers hold."""

import ast
import json
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from inspect import getmembers, isclass
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer
from dotenv import dotenv_values
from typer.core import TyperCommand, TyperGroup

from hubspot_sync import __version__, console, errors
from hubspot_sync.cli import app
from hubspot_sync.codes import ErrorCode
from hubspot_sync.report import ContactReport, RunReport, RunState
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.settings import DEFAULT_DATABASE_URL, Settings, known_names, load_settings
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.embedded import create_table
from tests.contacts import MAPPING
from tests.for_each import for_each
from tests.messages import sample

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hubspot_sync"
README = (ROOT / "README.md").read_text(encoding="utf-8")
ENV_EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
CRONTAB_EXAMPLE = (ROOT / "crontab.example").read_text(encoding="utf-8")
DOCUMENTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        ".env.example",
        "crontab.example",
        "CHANGELOG.md",
        "docs/mapping.md",
        "docs/messages.md",
        "docs/coming-from-the-app.md",
    )
}

SHELL_ENDS = frozenset({"&", "&&", "|", ">", ">>", "2>", "2>&1"})
NAMES_IN_MESSAGES = {"TABLE": "contacts"}
"""Constants that messages have inside."""


def the_group() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


COMMANDS = sorted(the_group().commands)


def parse_as_command(line: str) -> None:
    """Fail unless a shell line runs this program as its options really are."""
    words = shlex.split(line.removeprefix("sudo -u hubspot-sync "))
    while "=" in words[0] and "/" not in words[0].partition("=")[0]:
        words.pop(0)
    ends = [number for number, word in enumerate(words) if word in SHELL_ENDS]
    program, *arguments = words[: ends[0]] if ends else words
    assert Path(program).name == "hubspot-sync", line
    assert arguments, line
    if arguments[0] in ("--help", "--version"):
        return
    assert arguments[0] in COMMANDS, line
    command = the_group().commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])


def console_lines(document: str) -> list[str]:
    """Return what is typed in a document's ```console blocks."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```$", document, re.MULTILINE | re.DOTALL)
    return re.findall(r"^ *\$ (.*)$", "\n".join(blocks), re.MULTILINE)


def section(title: str) -> str:
    """Return one section of the README, without its heading."""
    found = re.search(
        rf"^##+ {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL
    )
    assert found, f"the README has no section {title}"
    return found[1]


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, headings and rules left out."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    rules = [number for number, row in enumerate(rows) if set("".join(row)) <= {"-"}]
    not_wanted = {number - 1 for number in rules} | set(rules)
    return [row for number, row in enumerate(rows) if number not in not_wanted]


def settings_in_the_example() -> dict[str, str]:
    """Return name and value of each setting, those that are commented out included."""
    return dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", ENV_EXAMPLE, re.MULTILINE))


def settings_in_the_readme() -> dict[str, list[str]]:
    """Return default and meaning of each setting."""
    return {
        name.strip("`"): [default.strip("`").replace("(empty)", ""), meaning]
        for name, default, meaning in table_rows(section("Settings"))
    }


def words_of_the_program() -> str:
    """Return every string of the program, one a line, with `…` for what is put in at run time."""
    words: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                words.append("".join(_part(value) for value in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.append(node.value)
    words += map(sample, ErrorCode)
    return "\n".join(words)


def _part(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    inner = value.value if isinstance(value, ast.FormattedValue) else None
    return NAMES_IN_MESSAGES.get(inner.id, "…") if isinstance(inner, ast.Name) else "…"


def error_classes() -> Iterator[type[errors.HubSpotSyncError]]:
    for _, found in getmembers(errors, isclass):
        if issubclass(found, errors.HubSpotSyncError):
            yield found


@for_each("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_works(name: str) -> None:
    command = the_group().commands[name]
    assert isinstance(command, TyperCommand)
    _, found, examples = (command.help or "").partition("Example")
    lines = [line.strip() for line in examples.splitlines()[1:] if line.strip()]

    assert found
    assert any(f"hubspot-sync {name}" in line for line in lines)
    for line in lines:
        parse_as_command(line)


@for_each("name", COMMANDS)
def test_every_command_and_each_of_its_options_stands_in_the_readme(name: str) -> None:
    own = section("Commands").partition(f"### {name}\n")[2].partition("\n### ")[0]
    common = section("Commands").partition("\n### ")[0]
    options = {
        option
        for parameter in the_group().commands[name].params
        for option in parameter.opts
        if option.startswith("--")
    }

    assert own
    assert any(f"hubspot-sync {name}" in line for line in console_lines(own))
    assert options
    assert [option for option in sorted(options) if option not in own + common] == []


def test_the_readme_names_no_command_that_does_not_exist() -> None:
    headings = re.findall(r"^### (.+)$", section("Commands"), re.MULTILINE)

    assert sorted(headings) == COMMANDS


def test_every_command_line_in_the_readme_is_one_that_the_program_takes() -> None:
    lines = [line for line in console_lines(README) if "hubspot-sync" in line]

    assert len(lines) > 10
    for line in lines:
        parse_as_command(line)


def test_the_settings_are_the_same_in_the_program_the_example_and_the_readme() -> None:
    names = known_names()

    assert len(names) > 10
    assert set(settings_in_the_example()) == names
    assert set(settings_in_the_readme()) == names


def test_every_setting_in_the_example_has_a_comment_above_it() -> None:
    lines = ENV_EXAMPLE.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(# )?[A-Z_]+=", line):
            assert re.match(r"# [A-Za-z]+\b[^=]*$", lines[number - 1]), line


def test_the_example_loads_without_a_fault_and_holds_the_defaults() -> None:
    values = dotenv_values(stream=StringIO(ENV_EXAMPLE), interpolate=False)
    variables = {name: value or "" for name, value in values.items()}

    assert load_settings(variables) == replace(Settings(), api_key="pat-na1-xxxxxxxx")


def test_what_is_commented_out_in_the_example_loads_too() -> None:
    settings = load_settings(settings_in_the_example())

    assert settings.database_url.startswith("postgresql+psycopg2://")


def test_the_defaults_in_the_readme_are_the_programs() -> None:
    told = {name: default for name, (default, _) in settings_in_the_readme().items()}
    expected = settings_in_the_example() | {
        "HUBSPOT_API_KEY": "",
        "DATABASE_URL": DEFAULT_DATABASE_URL,
    }

    assert told == expected
    assert load_settings(told) == Settings()


def test_the_ranges_in_the_documents_are_the_programs() -> None:
    source = (PACKAGE / "settings.py").read_text(encoding="utf-8")
    numbers = re.findall(r'read\.number\("([A-Z_]+)", \w+, (\w+), (\w+)\)', source)
    readme = settings_in_the_readme()

    assert len(numbers) > 5
    for name, least, most in numbers:
        told = f"{int(least)} to {int(most)}"
        comment = ENV_EXAMPLE.partition(f"\n{name}=")[0].rpartition("\n")[2]
        assert told in readme[name][1], name
        assert told in comment, name


def test_the_custom_properties_in_the_readme_are_those_that_are_created() -> None:
    told = [row[1:4] for row in table_rows(section("Commands")) if "CUSTOM_PROPERTY" in row[0]]

    assert told == [
        [f"`{each.name}`", f"{each.type} / {each.field_type}", each.label]
        for each in MAPPING.custom_properties
    ]


def test_the_cron_line_is_a_schedule_and_a_command_that_works() -> None:
    (line,) = (
        line for line in CRONTAB_EXAMPLE.splitlines() if line and not re.match(r"#|[A-Z]+=", line)
    )
    *schedule, command = line.split(maxsplit=5)

    assert schedule == ["*/5", "*", "*", "*", "*"]
    assert "%" not in command, "cron would make a line feed of it"
    assert "2>" not in command, "standard error is for cron's mail"
    parse_as_command(command)
    paths = [word for word in shlex.split(command) if "/" in word]
    assert len(paths) == 3
    assert all(Path(path).is_absolute() for path in paths)
    assert line in README


def test_an_image_holds_nothing_that_the_repository_must_not_hold() -> None:
    kept_out, left_out = (
        (ROOT / name).read_text(encoding="utf-8").splitlines()
        for name in (".gitignore", ".dockerignore")
    )
    for pattern in kept_out:
        name = pattern.rstrip("/").replace("*", "x")
        assert any(fnmatch(name, each.removeprefix("**/")) for each in left_out), pattern


def test_the_recipes_for_containers_run_the_program_without_a_shell() -> None:
    dockerfile, cron, render, kubernetes = re.findall(
        r"<!-- container -->\n```\w+\n(.*?)```", README, re.DOTALL
    )
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", dockerfile, re.MULTILINE)
    (command,) = re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)
    (arguments,) = re.findall(r"args: (.*)$", kubernetes, re.MULTILINE)
    (start,) = re.findall(r"startCommand: (.*)$", render, re.MULTILINE)
    image = " hubspot-sync sync-queue"

    parse_as_command(shlex.join(json.loads(entry) + json.loads(command)))
    parse_as_command(shlex.join(json.loads(entry) + json.loads(arguments)))
    parse_as_command(start)
    parse_as_command(cron[cron.rindex(image) :].strip())
    grace = [
        int(found) for found in re.findall(r"(?:Seconds: |-timeout )(60)\b", kubernetes + cron)
    ]
    assert len(grace) == 2
    assert all(seconds > Settings().request_timeout.total_seconds() for seconds in grace)


def test_cron_mails_to_somebody() -> None:
    assert re.search(r"^MAILTO=\S+@\S+$", CRONTAB_EXAMPLE, re.MULTILINE)


def test_the_exit_codes_in_the_readme_are_those_of_the_errors() -> None:
    rows = table_rows(section("Exit codes"))
    told = {name: row[0] for row in rows for name in re.findall(r"`(\w+)`", row[2])}
    ending = {error.__name__: str(error.exit_code) for error in error_classes()}

    assert [row[0] for row in rows] == ["0", "1", "2", "3", "129, 130, 143"]
    assert {name: ending[name] for name in told} == told
    assert {error.exit_code for error in error_classes()} == {int(code) for code in told.values()}
    for error in error_classes():
        if issubclass(error, errors.RunStopped | errors.WrongUsage) or "exit_code" in vars(error):
            assert error.__name__ in told


def test_the_exit_codes_in_the_readme_are_those_of_the_signals() -> None:
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    report = RunReport("sync-queue", "0", RunState.STOPPED)
    codes = [str(replace(report, signal=number).exit_code) for number in numbers]

    assert ", ".join(codes) == table_rows(section("Exit codes"))[-1][0]


def test_the_states_in_the_readme_are_those_of_a_run() -> None:
    rows = [row for row in table_rows(section("`--json`")) if len(row) == 3]
    told = {row[0].strip("`"): row[1].partition(",")[0] for row in rows}

    assert told == {
        str(state): str(RunReport("sync-queue", "0", state).exit_code) for state in RunState
    }


def test_the_json_document_in_the_readme_has_the_programs_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = re.search(r"```json\n(.*?)```", section("`--json`"), re.DOTALL)
    assert found
    contact = ContactReport(str(UUID(int=0)), "a@example.org", OutcomeName.UPDATED, 1, 4)
    console.show_run(RunReport("sync-queue", "0", RunState.DONE, contacts=(contact,)), as_json=True)

    assert shape_of(json.loads(found[1])) == shape_of(json.loads(capsys.readouterr().out))


def shape_of(document: Mapping[str, Any]) -> list[object]:
    contacts = [list(contact) for contact in document["contacts"]]
    return [list(document), document["schema_version"], list(document["counts"]), contacts]


def test_every_outcome_stands_in_the_readmes_status_table() -> None:
    rows = [row for row in table_rows(section("The path of a contact")) if len(row) == 5]
    told = {name for row in rows for name in row[4].split(", ")}

    assert {str(name) for name in OutcomeName} <= told


def test_what_it_survives_names_tests_that_there_are() -> None:
    there = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    rows = table_rows(section("What it survives"))

    assert len(rows) > 10
    for fault, _, tests in rows:
        named = re.findall(r"`(\w+)`", tests)
        assert named, fault
        assert set(named) <= there, fault


def test_the_runbook_looks_for_words_that_the_program_says() -> None:
    words = words_of_the_program()
    symptoms = [row[0] for row in table_rows(section("Runbook"))]
    quotes = [quote for symptom in symptoms for quote in re.findall(r"`([^`]+)`", symptom)]

    assert len(quotes) > 15
    for quote in quotes:
        for part in re.split(r"…|(?<=The run stopped: )", quote):
            assert part.strip() in words, quote


def test_the_module_map_in_the_readme_is_complete() -> None:
    named = set(re.findall(r"^\| `(hubspot_sync/[\w/]+\.py)` \|", README, re.MULTILINE))
    there = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }

    assert named == there


def test_the_arrow_line_in_the_readme_is_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    names = [layer.replace("hubspot_sync.", "") for layer in layers if "__main__" not in layer]
    arrows = " -> ".join(f"({name})" if "|" in name else name for name in names)

    assert arrows in README


def test_links_within_the_readme_lead_somewhere() -> None:
    assert_links_lead_somewhere(ROOT / "README.md")


def assert_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        led_to = page.parent / path if path else page
        assert led_to.exists(), target
        assert not anchor or anchor in anchors_of(led_to), target


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^##+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


def test_the_changelog_begins_with_the_version_of_the_program() -> None:
    changelog = DOCUMENTS["CHANGELOG.md"]

    assert re.findall(r"^## (\S+),", changelog, re.MULTILINE)[0] == __version__


@for_each("name", DOCUMENTS)
def test_the_promise_is_at_least_once(name: str) -> None:
    words = re.sub(r"[\s*_-]+", " ", DOCUMENTS[name]).lower()

    assert "exactly once" not in words


@pytest.mark.timeout(120)
def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run(
        [str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


FOR_MAPPING_FILES = frozenset({"tomllib", "phonenumbers", "hubspot_sync.config"})


def imported_by(code: str, folder: Path = ROOT) -> set[str]:
    """Return the modules that a process of its own has imported after some code."""
    told = f"{code}; import json; print(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; {told}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(ended.stdout.splitlines()[-1]))


def test_importing_the_commands_imports_nothing_slow() -> None:
    imported = imported_by("import hubspot_sync.cli")
    slow = {"sqlalchemy", "requests", "rich", "psycopg2", "dotenv", "zoneinfo"}

    assert "typer" in imported
    assert imported.isdisjoint(slow | FOR_MAPPING_FILES)


def test_idle_tick_without_a_mapping_file_imports_nothing_for_one(tmp_path: Path) -> None:
    database = make_engine(f"sqlite:///{tmp_path / 'contacts.db'}", create=True)
    create_table(database, BUILT_IN_SOURCE)
    database.dispose()
    ticks = "from hubspot_sync.cli import app; app(['sync-queue'], standalone_mode=False)"
    imported = imported_by(
        f"import os; os.environ['HUBSPOT_API_KEY'] = 'pat-na1-xxxxxxxx'; {ticks}", tmp_path
    )

    assert "sqlalchemy" in imported
    assert imported.isdisjoint({"requests"} | FOR_MAPPING_FILES)


def test_no_test_sleeps() -> None:
    sleepers = [
        f"{path.relative_to(ROOT)}: {ast.unparse(node)}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _is_sleep(node)
    ]

    assert sleepers == []


def _is_sleep(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "time" and any(name.name == "sleep" for name in node.names)
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
