"""Which texts are moments in ISO 8601, in the spellings that files have. `landing/sql_text` reads them with SQL."""

import re
from datetime import datetime

_DAY, _CLOCK = r"\d{4}-\d\d-\d\d", r"[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?"
_OFFSET = r"[+-][01]\d(?::?[0-5]\d)?"
NAIVE_OR_Z = f"{_DAY}({_CLOCK}([zZ]| UTC)?)?"
WITH_OFFSET = f"{_DAY}{_CLOCK} ?{_OFFSET}"
BASIC = rf"(\d{{4}})(\d\d)(\d\d)[Tt](\d\d)(\d\d)(\d\d)([.,]\d+)?([Zz]|{_OFFSET})"

_SPELLINGS = re.compile(f"{NAIVE_OR_Z}|{WITH_OFFSET}|{BASIC}", re.ASCII)


def is_moment(text: str) -> bool:
    """Whether a text is a moment in ISO 8601, with an offset or without.

    Args:
        text: Without white space around it.
    """
    if not _SPELLINGS.fullmatch(text):
        return False
    # Python has the blank before the clock, and no other one.
    spelled = text.upper().replace(" UTC", "").replace(" +", "+").replace(" -", "-")
    try:
        datetime.fromisoformat(spelled)
    except ValueError:
        return False
    return True
