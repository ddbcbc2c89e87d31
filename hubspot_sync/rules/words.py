"""Strangers' words made fit for a line: contacts are scraped from anywhere, and answers may be odd.

What a terminal, a log or a mail would obey instead of show: control characters, and those that
turn or hide the text that follows them.
"""

import re

_OBEYED = r"\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
_EACH_OBEYED = re.compile(f"[{_OBEYED}]")
_BLANKS = re.compile(rf"[\s{_OBEYED}]+")


def visible(text: str) -> str:
    """Return a text in which everything that would be obeyed is seen as �."""
    return _EACH_OBEYED.sub("�", text.replace("\n", " ").replace("\t", " "))


def escaped(json_text: str) -> str:
    r"""Return a JSON text in which it is written as \uXXXX, which inside strings means the same."""
    return _EACH_OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)


def one_line(text: str, most: int) -> str:
    """Return a text as one line of so many characters at most, which any database can hold."""
    # Half an emoji, which JSON can carry, can be written to no database.
    whole = text.encode("utf-8", "replace").decode()
    return shortened(_BLANKS.sub(" ", whole).strip(), most)


def shortened(text: str, most: int) -> str:
    """Return a text that is cut, visibly, where it is longer than so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
