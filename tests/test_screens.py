"""The pictures in docs/screens show what the program shows today."""

import html
import logging
import os
import re
from pathlib import Path

import pytest
import rich.progress

from hubspot_sync import report
from hubspot_sync.cli import deliver, set_up
from hubspot_sync.console import runs, terminal
from hubspot_sync.store import check_up, database
from tests import screens
from tests.test_project import README

NAMES = ["create-properties", "doctor", "drain", "dry-run", "status", "sync-queue"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pictures as they would be today."""
    folder = tmp_path_factory.mktemp("screens")
    screens.make_all(folder)
    return read(folder)


def read(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.svg"))}


def words(svg: str) -> list[str]:
    """Return what is to be read: another version of rich may draw the same words otherwise."""
    texts = re.findall(r"<text\b[^>]*>([^<]*)</text>", svg)
    return " ".join(html.unescape(text) for text in texts).split()


def test_words_are_read_off_a_picture() -> None:
    svg = '<text x="1">a&#160;&lt;b&gt;</text><rect/><text>P.</text><text>-&gt;</text>'
    assert words(svg) == ["a", "<b>", "P.", "->"]


def test_every_picture_is_kept(made: dict[str, str]) -> None:
    assert sorted(made) == sorted(read(screens.FOLDER)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_says_what_the_program_says(name: str, made: dict[str, str]) -> None:
    kept = (screens.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert words(made[name]) == words(kept), (
        f"docs/screens/{name}.svg is not what the program shows: if that is meant, run "
        "'python -m tests.screens', look at the pictures, and commit them."
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_stands_in_the_readme(name: str) -> None:
    assert f"](docs/screens/{name}.svg)" in README


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_loads_nothing(name: str) -> None:
    kept = (screens.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert not re.search(r"@import|@font-face|href|src[:=]|url\((?!#)|<(image|script)", kept)


def test_two_makings_are_alike_whoever_makes_them(
    made: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("HUBSPOT_SYNC_MAX_RETRIES=9\n", encoding="utf-8")
    for name, value in {
        "COLUMNS": "40",
        "TERM": "dumb",
        "TZ": "Asia/Tokyo",
        "DATABASE_URL": "postgresql://127.0.0.1:1/app",
        "HUBSPOT_API_VERSION": "2026-09",
    }.items():
        monkeypatch.setenv(name, value)
    screens.make_all(tmp_path)
    assert read(tmp_path) == made


def test_the_program_is_itself_again_afterwards() -> None:
    log = logging.getLogger()
    modules = (terminal, runs, database, deliver, set_up, check_up, report, rich.progress)

    def state() -> list[object]:
        names = [dict(vars(module)) for module in modules]
        return [names, dict(os.environ), Path.cwd(), log.handlers[:], log.level]

    before = state()
    with screens.set_stage() as stage:
        screens.drain(stage)
        assert state() != before
    assert state() == before
