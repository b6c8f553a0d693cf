"""What people name things, made safe to show: on a page, in a mail's header, a file's name, a line of a log, a cell of a table.

A name is one line in which everything can be seen. Line breaks and other control characters forge lines; characters that change
the direction of writing, and those that cannot be seen, make one name look like another.
"""

from __future__ import annotations

import re
from typing import Final

from tollhouse.plugin.errors import InvalidInput

SPACES: Final = " \u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_CONTROL: Final = r"\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufff0-\ufffb\ufffe\uffff"
_DIRECTION: Final = r"\u202a-\u202e\u2066-\u2069"
_MARKS: Final = r"\u061c\u200e\u200f"
_HIDDEN: Final = (
    r"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# What joins letters of some scripts, and people into a family, has such a letter (or an emoji) on both sides.
_JOINERS: Final = r"(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200c\u200d])"
UNSHOWN: Final = re.compile(rf"[\t\n\u2028\u2029{_CONTROL}{_DIRECTION}{_MARKS}{_HIDDEN}]|{_JOINERS}")
UNSHOWN_IN_LINES: Final = re.compile(rf"[{_CONTROL}{_DIRECTION}]")


def one_line(value: str, *, field: str, longest: int, required: bool = False) -> str:
    """A name, without the space around it.

    Raises:
        InvalidInput: too long, missing, or with a character that cannot be shown; it names ``field``.
    """
    value = value.strip(SPACES)
    if required and not value:
        raise InvalidInput("This must not be empty", field=field)
    if len(value) > longest:
        raise InvalidInput(f"This is at most {longest} characters", field=field)
    if UNSHOWN.search(value):
        raise InvalidInput(
            "This is one line of text, without control characters and without characters that cannot be seen", field=field
        )
    return value


def lines(value: str, *, field: str, longest: int, required: bool = False) -> str:
    """The same for a text of several lines; a reader's own line breaks become ours.

    Raises:
        InvalidInput: as :func:`one_line`.
    """
    value = value.replace("\r\n", "\n").replace("\r", "\n").strip()
    if required and not value:
        raise InvalidInput("This must not be empty", field=field)
    if len(value) > longest:
        raise InvalidInput(f"This is at most {longest:,} characters", field=field)
    if UNSHOWN_IN_LINES.search(value):
        raise InvalidInput("This is text without control characters", field=field)
    return value


def shown(value: str, longest: int) -> str:
    """The same of what nobody typed here (the name of an uploaded file, the first words of a message): cleaned, not refused."""
    return " ".join(UNSHOWN.sub(" ", value).split())[:longest].rstrip()
