"""A table whose rows are one test: for what is shown sooner than a case of its own is set up.

It is written as `pytest.mark.parametrize` is. All rows are tried, and a failure names those that
fail. Rows share the test's fixtures, of which the contacts table alone is emptied for each; where
a row changes another one, it is a case of its own.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any

from tests.tables import Contacts

Test = Callable[..., None]


def for_each(
    names: str | Sequence[str],
    rows: Iterable[Any],
    ids: Iterable[str] | Callable[[Any], object] | None = None,
) -> Callable[[Test], Test]:
    """Return what makes one test of a test for each of these rows.

    Args:
        names: of the test's arguments, in a sequence or with commas between them.
        rows: one value each, or a sequence of them where there are several names.
        ids: are taken as `parametrize` takes them, but a failure shows the values themselves.
    """
    columns = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    table = list(_arguments(columns, rows))
    assert table, "a table without rows shows nothing"

    def decorate(test: Test) -> Test:
        signature = inspect.signature(test)
        left = [each for name, each in signature.parameters.items() if name not in columns]

        @wraps(test)
        def try_all(**fixtures: Any) -> None:
            failed = [error for row in table if (error := _failure(test, row, fixtures))]
            if failed:
                failed[0].add_note(f"{len(failed)} of {len(table)} rows fail.")
                raise failed[0]

        try_all.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return try_all

    return decorate


def _arguments(columns: Sequence[str], rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for row in rows:
        values = getattr(row, "values", row) if type(row).__name__ == "ParameterSet" else row
        is_single = len(columns) == 1 and values is row
        yield dict(zip(columns, [row] if is_single else values, strict=True))


def _failure(test: Test, row: dict[str, Any], fixtures: dict[str, Any]) -> Exception | None:
    try:
        if isinstance(table := fixtures.get("table"), Contacts):
            table.clear()
        test(**row, **fixtures)
    except Exception as error:  # noqa: BLE001 - it is raised when all rows were tried
        error.add_note(f"with {row}")
        return error
    return None
