"""Whether a request comes from Slack, and now: its signature (scheme v0) and its age. Pure; the time is an argument."""

import hashlib
import hmac

LONGEST_AGE_SECONDS = 300
"""Slack's own advice: what is older may have been recorded and be sent again."""


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """What Slack writes in `X-Slack-Signature` for a body sent at that time (seconds since 1970)."""
    told = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), told, hashlib.sha256).hexdigest()


def why_refused(body: bytes, timestamp: str | None, signature: str | None, *, secret: str, now: float) -> str | None:
    """Why a request is not to be believed, None if it is.

    Args:
        body: As it came.
        timestamp: `X-Slack-Request-Timestamp`.
        signature: `X-Slack-Signature`.
        secret: The app's signing secret.
        now: Seconds since 1970.
    """
    if not timestamp or not signature:
        return "the request is not signed"
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 20):
        return "the request's time can't be read"
    if abs(now - int(timestamp)) > LONGEST_AGE_SECONDS:
        return "the request is too old, or a clock is wrong"
    if not hmac.compare_digest(sign(secret, timestamp, body).encode(), signature.encode()):
        return "the signature is another one: compare PLS_SLACK_SIGNING_SECRET with the app's"
    return None
