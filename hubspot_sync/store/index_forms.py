"""What an index is apart from its name: its keys and its condition, in a form to compare."""

import re

from sqlalchemy import Dialect, Index
from sqlalchemy.schema import CreateIndex

_CAST = re.compile(
    r"""::(?:"[^"]*"|\w+)(?:\.(?:"[^"]*"|\w+))*(?:\ varying|\ precision|\ with(?:out)?\ time\ zone)?
    (?:\(\d+\))?(?:\[\])*""",
    re.VERBOSE,
)
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[\w$]+|<>|!=|[^\s()]""")
_LEFT_OUT = frozenset({"both", "from"})
_SPELLINGS = {"!=": "<>", "btrim": "trim"}

Form = tuple[str, ...]


def form_of_wanted(index: Index, dialect: Dialect) -> Form:
    """Return the form of an index as `init-db --indexes` makes it."""
    if index.table is None:
        raise ValueError("the index has no table")
    text = str(CreateIndex(index).compile(dialect=dialect))
    table = dialect.identifier_preparer.format_table(index.table)
    # The driver's way to write a per cent sign.
    return _form(text.partition(f" ON {table} ")[2].replace("%%", "%"))


def form_of_found(definition: str) -> Form:
    """Return the form of an index as PostgreSQL's `pg_get_indexdef` tells it; none but a B-tree's.

    PostgreSQL writes a condition with casts, brackets and names of its own. Without these it is the
    one that was given, word by word.
    """
    return _form(definition.partition(" USING btree ")[2])


def _form(text: str) -> Form:
    # Casts stand in no text of ours, so what looks like one there is the same on both sides.
    words = (_word(each) for each in _TOKEN.findall(_CAST.sub("", text)))
    return tuple(_SPELLINGS.get(word, word) for word in words if word not in _LEFT_OUT)


def _word(token: str) -> str:
    if token.startswith("'"):
        return token
    return token[1:-1].replace('""', '"') if token.startswith('"') else token.lower()
