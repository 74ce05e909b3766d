"""Text that users typed, made harmless: a name never becomes markup, a link, a mention or a new line.

Two steps, because two renderers share one model: ``plain`` cleans a value once, when the model is built;
``markdown`` escapes it for Markdown, at the moment of rendering. Which words are written is not decided here.
"""

import re
import unicodedata

LONGEST = 200
"""Characters of one value that are shown. A name is shorter; a longer text is somebody's experiment."""

EMAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!#$%&'+/=?^_{|}~-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
_BIDI_CONTROLS = re.compile("[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SPECIAL = re.compile(r"([\\`*\[\]<>|~#&])")
_UNDERSCORE_AT_AN_EDGE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_ESCAPE = re.compile(r"\\(?=[!-/:-@\[-`{-~])")
_SCHEME = re.compile(r":(?=//)|(?<=mailto):|(?<=xmpp):|(?<=javascript):", re.IGNORECASE)
_WWW = re.compile(r"\b(www)\.", re.IGNORECASE)
_BLOCK_START = re.compile(r"^([-+=](?=[\s=-]|$)|\d{1,9}(?=[.)](?:\s|$)))")
_MENTION_BREAK = "\u2060"
_ADDRESS_OR_MENTION = re.compile(EMAIL.pattern + "|@", re.ASCII)


def plain(value: object, longest: int = LONGEST) -> str:
    """One line of printable text, or an empty string for what is no text.

    Line breaks, tabs and other control characters become a space; characters that turn the reading direction
    or take no room are dropped; more than ``longest`` characters are cut with an ellipsis.
    """
    if value is None:
        return ""
    text = str(value)
    if not (text.isascii() and text.isprintable()):  # what most values are, there is nothing to look for in them
        text = _BIDI_CONTROLS.sub("", "".join(_printable(character) for character in text))
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def unescaped(text: str) -> str:
    """Markdown without the backslashes of `markdown`, as plain text."""
    return _ESCAPE.sub("", text)


def _printable(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cs":
        return "\ufffd"
    return " " if kind in ("Cc", "Zl", "Zp", "Zs") else character


def markdown(value: object, longest: int = LONGEST) -> str:
    """``value`` as Markdown that reads the same and does nothing; more than ``longest`` characters are cut.

    An e-mail address stays as it is, so that it can be copied; any other ``@`` is followed by a word joiner, because
    no escape keeps chat and issue trackers from reading a mention.
    """
    text = plain(value, longest)
    text = _SPECIAL.sub(r"\\\1", text)
    text = _UNDERSCORE_AT_AN_EDGE.sub(r"\\_", text)
    text = _SCHEME.sub(r"\\:", text)
    text = _WWW.sub(r"\1\\.", text)
    text = _ADDRESS_OR_MENTION.sub(_break_mention, text)
    return _BLOCK_START.sub(_escape_block_start, text)


def _break_mention(found: re.Match[str]) -> str:
    return found.group() if found.group() != "@" else "@" + _MENTION_BREAK


def _escape_block_start(found: re.Match[str]) -> str:
    start = found.group(1)
    return start + "\\" if start.isdigit() else "\\" + start
