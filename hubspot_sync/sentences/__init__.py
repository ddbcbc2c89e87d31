"""The program's messages of trouble: from code and data to a sentence, and nowhere else.

To add a message, add its code to `codes`, its form to one of the modules here, and its row to
docs/messages.md.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences import contact, desk, stops, usage, warnings
from hubspot_sync.sentences.form import Form, Forms, ended

FORMS: Forms = {
    **usage.FORMS,
    **stops.FORMS,
    **contact.FORMS,
    **warnings.FORMS,
    **desk.FORMS,
}


class Message(str):
    """A sentence about trouble that knows what it was made from.

    Attributes:
        code: what happened, for programs.
        data: the particulars, by name.
        what: the part that says what happened.
        fix: the part that says what to do; empty where it is not a part of its own.

    Raises:
        KeyError: the data lack what the sentence names.
    """

    code: ErrorCode
    data: Mapping[str, Any]
    what: str
    fix: str

    def __new__(cls, code: ErrorCode, **data: Any) -> "Message":
        """Make the sentence of a code from its data."""
        what, fix, rest = _parts(code, data)
        text = what
        if fix:
            text = f"{what}. {fix}; {rest}." if rest else f"{what}. {ended(fix)}"
        return cls._made(text, code, data, what, ended(fix) if fix else "")

    @classmethod
    def _made(
        cls, text: str, code: ErrorCode, data: Mapping[str, Any], what: str, fix: str
    ) -> "Message":
        message = super().__new__(cls, text)
        message.code, message.data, message.what, message.fix = code, data, what, fix
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is not made anew from its data: its text may be one that was cut.
        return Message._made, (str(self), self.code, self.data, self.what, self.fix)

    @property
    def causes(self) -> tuple["Message", ...]:
        """The messages that stand within this one."""
        return tuple(_messages_in(self.data.values()))

    def knowing(self, data: Mapping[str, Any]) -> "Message":
        """Return the same message with more data, which its text does not name."""
        known = dict(self.data) | dict(data)
        return self._made(str(self), self.code, known, self.what, self.fix)

    def as_text(self, text: str) -> "Message":
        """Return the same message in another text, such as one that is cut."""
        return self._made(text, self.code, self.data, self.what, self.fix)


def with_assurance(reason: str) -> str:
    """Return why a run stopped, with what becomes of its contacts.

    Errors do not say it, for other commands touch no queue.
    """
    return f"{reason.rstrip('.')}. The contacts are safe in the queue."


def _parts(code: ErrorCode, data: Mapping[str, Any]) -> Form:
    form = FORMS[code]
    if callable(form):
        made = form(**data)
        return made if isinstance(made, Form) else Form(made)
    parts = form if isinstance(form, Form) else Form(form)
    return Form(*(part.format_map(data) for part in parts))


def _messages_in(values: Any) -> Iterator[Message]:
    for value in values:
        if isinstance(value, Message):
            yield value
        elif isinstance(value, list | tuple):
            yield from _messages_in(value)
