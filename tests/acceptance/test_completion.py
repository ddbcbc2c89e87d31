"""Tab completion: the program asked as each shell's script asks it, and bash itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.program import ROOT

SCRIPT = Path(sys.executable).with_name("hubspot-sync")
"""The program as it is installed: shells know it by this name, and so does its variable."""
BASH = shutil.which("bash") or "bash"

LINES = [
    ("hubspot-sync s", {"skip", "status", "sync-one", "sync-queue"}),
    ("hubspot-sync m", {"mapping"}),
    ("hubspot-sync mapping --p", {"--print-default"}),
    ("hubspot-sync sync-queue --d", {"--drain", "--dry-run"}),
    ("hubspot-sync enqueue --status ", {"New", "Error", "Complete"}),
]

each_line = pytest.mark.parametrize(("line", "offered"), LINES, ids=[line for line, _ in LINES])


def in_path(folder: Path) -> str:
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(autouse=True)
def _as_shells_find_it(forked_script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells find a program that begins at once, where they are not to find the installed one."""
    monkeypatch.setenv("PATH", in_path(forked_script.parent))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def ask(shell: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Start the program as a shell's completion script does."""
    return subprocess.run(
        [SCRIPT.name],
        env={**os.environ, "_HUBSPOT_SYNC_COMPLETE": f"complete_{shell}", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def ask_fish(line: str, action: str) -> "subprocess.CompletedProcess[str]":
    return ask("fish", _TYPER_COMPLETE_FISH_ACTION=action, _TYPER_COMPLETE_ARGS=line)


def press_tab_in_bash(line: str) -> "subprocess.CompletedProcess[str]":
    """Load the script that the program prints into a real bash, and call it as Tab would."""
    code = """
        source <(hubspot-sync --show-completion) || exit
        read -r _ _ _ _ function _ < <(complete -p hubspot-sync)
        IFS=' ' read -ra COMP_WORDS <<<"$1"
        [[ $1 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        "$function" hubspot-sync
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    return subprocess.run(
        [BASH, "--norc", "--noprofile", "-c", code, "bash", line],
        capture_output=True,
        text=True,
        check=False,
    )


@each_line
def test_bash_offers_what_the_program_prints_for_it(line: str, offered: set[str]) -> None:
    ended = press_tab_in_bash(line)

    assert (set(ended.stdout.split()), ended.stderr) == (offered, "")


def test_bash_is_left_to_complete_the_name_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", in_path(SCRIPT.parent))
    ended = press_tab_in_bash("hubspot-sync sync-queue --env-file /etc/hub")

    assert (ended.stdout.strip(), ended.stderr) == ("", "")


@each_line
def test_bash_is_answered(line: str, offered: set[str]) -> None:
    ended = ask("bash", COMP_WORDS=line, COMP_CWORD=str(len(line.split(" ")) - 1))

    assert (set(ended.stdout.split()), ended.stderr) == (offered, "")


@each_line
def test_zsh_is_answered(line: str, offered: set[str]) -> None:
    ended = ask("zsh", _TYPER_COMPLETE_ARGS=line)
    values = re.findall(r'^(?:_arguments .*[(][(])?"([^"]+)"', ended.stdout, re.MULTILINE)

    assert ended.stdout.startswith("_arguments "), "zsh evaluates every word of it"
    assert (set(values), ended.stderr) == (offered, "")


@each_line
def test_fish_is_answered(line: str, offered: set[str]) -> None:
    ended = ask_fish(line, "get-args")
    values = {answer.partition("\t")[0] for answer in ended.stdout.splitlines()}

    assert (values, ended.stderr) == (offered, "")
    assert ask_fish(line, "is-args").returncode == 0


def test_fish_is_left_to_complete_the_name_of_a_file() -> None:
    line = "hubspot-sync sync-queue --env-file /etc/hub"

    assert ask_fish(line, "get-args").stdout.strip() == ""
    assert ask_fish(line, "is-args").returncode == 1
