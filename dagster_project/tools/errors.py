"""What a tool says instead of an answer. Every message names what was wrong and what to do instead.

ToolError
 ├─ UnknownTool: it is not on the whitelist, or does not exist at all
 ├─ WrongArguments: an argument is missing, unknown, or not on the whitelist
 ├─ NotFound: nobody is called that
 ├─ Refused: a guardrail forbids it
 └─ Unavailable: it can't be answered now
"""


class ToolError(Exception):
    """A call that gets no answer; the message is for the assistant and for whoever it works for."""


class UnknownTool(ToolError):
    """There is no such tool."""


class WrongArguments(ToolError):
    """The arguments can't be used."""


class NotFound(ToolError):
    """What was asked about does not exist."""


class Refused(ToolError):
    """It may not be done."""


class Unavailable(ToolError):
    """It can't be done now; the same call may succeed later."""
