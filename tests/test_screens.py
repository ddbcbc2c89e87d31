"""The pictures of the README are what the program prints today."""

import re
from collections.abc import Callable
from html import unescape

import pytest

from tests import screens
from tests.screens import FOLDER, SCREENS, Stage, name_of
from tests.test_project import README

Screen = Callable[[Stage], None]
each_screen = pytest.mark.parametrize("screen", SCREENS, ids=name_of)


def words_in(picture: str) -> list[str]:
    """Return what a picture says, line by line; styles may differ between versions of rich."""
    found = re.findall(
        r'<text class="[^"]*-r\d+"[^>]* y="([\d.]+)"[^>]*>(.*?)</text>', picture, re.S
    )
    lines: dict[str, str] = {}
    for height, text in found:
        lines[height] = lines.get(height, "") + unescape(text).replace("\N{NO-BREAK SPACE}", " ")
    return [re.sub(r" +", " ", line).strip() for line in lines.values()]


@each_screen
def test_picture_shows_what_the_program_prints(screen: Screen) -> None:
    told = words_in((FOLDER / f"{name_of(screen)}.svg").read_text(encoding="utf-8"))
    assert len(told) > 5
    assert words_in(screens.make(screen)) == told, "make them again: python -m tests.screens"


@each_screen
def test_two_makings_are_alike_whoever_makes_them(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = screens.make(screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("HUBSPOT_SYNC_WORKERS", "x")
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    monkeypatch.delenv("NO_COLOR")
    assert screens.make(screen) == first


@each_screen
def test_picture_loads_nothing_and_stands_in_the_readme(screen: Screen) -> None:
    path = FOLDER / f"{name_of(screen)}.svg"
    picture = path.read_text(encoding="utf-8")
    addresses = re.findall(r"https?://[^\s\"<]+", picture)
    assert set(addresses) == {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert "url(http" not in picture.replace('"', "")
    assert f"](docs/screens/{path.name})" in README


def test_no_picture_is_left_over() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(map(name_of, SCREENS))
