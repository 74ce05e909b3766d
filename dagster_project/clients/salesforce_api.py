"""Requests to a Salesforce org: signing in, signing in again when a session has ended, and SOQL.

Signing in: OAuth client credentials, or a JWT signed with a certificate's key (package `pyjwt`, extra `salesforce`).
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster_project.clients.crm import CrmDenied, CrmUnavailable, CrmUnknown
from dagster_project.clients.crm_values import crm_errors
from dagster_project.clients.cursors import Onwards
from dagster_project.clients.http import Answer, ApiRefused, Clock, HttpApi, RetryPolicy, words_of
from dagster_project.clients.limits import Allowance, RollingLimit

VERSION = "67.0"
LOGIN_URL = "https://login.salesforce.com"
PREFIX = "PLS_SALESFORCE_"
_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTED_SECONDS = 180
"""How long a signed assertion is good for; Salesforce takes five minutes at most."""
_LIMITED = ("REQUEST_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS", "SERVER_UNAVAILABLE")


class SalesforceApi:
    """One org, as the integration's user.

    Args:
        variables: The PLS_SALESFORCE_* variables that are set.
        clock: What waiting is measured in.
        policy: Timeouts and retries.
        daily_reserve: Share of the day's requests that is left to others.

    Raises:
        ValueError: A variable is missing, the address must not get secrets, or `pyjwt` is not installed.
    """

    def __init__(
        self, variables: Mapping[str, str], *, clock: Clock, policy: RetryPolicy | None, daily_reserve: float
    ) -> None:
        base_url = variables.get(f"{PREFIX}BASE_URL")
        if not base_url:
            raise ValueError(f"{PREFIX}BASE_URL is not set: expected https://<your domain>.my.salesforce.com")
        self.clock = clock
        self._grant, self._secrets = _grant(variables)
        self._token: str | None = None
        self._version = variables.get(f"{PREFIX}API_VERSION", VERSION).removeprefix("v")

        def api(authorize: Callable[[], Mapping[str, str]]) -> HttpApi:
            limiter = RollingLimit(None, 1.0, clock=clock, read=_allowance, daily_reserve=daily_reserve)
            return HttpApi(
                base_url,
                authorize=authorize,
                secrets=lambda: [*self._secrets, self._token or ""],
                limiter=limiter,
                policy=policy,
                clock=clock,
            )

        self._api = api(lambda: {"Authorization": f"Bearer {self._token}"})
        self._login = api(dict)

    def request(self, method: str, path: str, **more: Any) -> Answer:
        """Ask; a session that has ended is begun anew once. Arguments are `HttpApi.request`'s.

        Args:
            method: HTTP's.
            path: Below `/services/data/v<version>`, or a whole one that begins with `/services/`.
            more: See `HttpApi.request`.

        Raises:
            CrmError: As a CRM fails.
        """
        whole = path if path.startswith("/services/") else f"/services/data/v{self._version}{path}"
        with crm_errors():
            try:
                if self._token is None:
                    self._sign_in()
                try:
                    return self._api.request(method, whole, **more)
                except ApiRefused as error:
                    if error.status != 401:
                        raise
                    self._sign_in()
                    return self._api.request(method, whole, **more)
            except ApiRefused as error:
                if any(code in str(error) for code in _LIMITED):
                    raise CrmUnavailable(str(error)) from None
                raise

    def query(self, soql: str, *, deleted_too: bool = False) -> Iterator[list[Mapping[str, Any]]]:
        """The pages of a query's records.

        Args:
            soql: The query.
            deleted_too: Whether deleted and merged records are shown.
        """
        answer = self.request("GET", "/queryAll" if deleted_too else "/query", params={"q": soql}).body
        onwards, shown = Onwards(), 0
        while True:
            records = answer.get("records") if isinstance(answer, dict) else None
            if not isinstance(records, list) or (not records and answer.get("totalSize")):
                raise CrmUnavailable("Salesforce's answer to a query has no records")
            shown += len(records)
            following = answer.get("nextRecordsUrl")
            if not following and (not answer.get("done") or shown < int(answer.get("totalSize") or 0)):
                raise CrmUnavailable(
                    f"Salesforce found {answer.get('totalSize')} records, showed {shown} of them and no further page"
                )
            yield records
            if not following:
                return
            answer = self.request("GET", onwards.to(following)).body

    def _sign_in(self) -> None:
        said = self._login.request("POST", "/services/oauth2/token", form=self._grant(), also=[400]).body
        if not isinstance(said, dict) or not said.get("access_token"):
            words = f"{said.get('error')}: {said.get('error_description')}" if isinstance(said, dict) else "no token"
            raise CrmDenied(f"signing in to Salesforce failed: {words}")
        self._token = str(said["access_token"])


def object_of(body: Any, what: str, *needed: str) -> Mapping[str, Any]:
    """An answer that is an object with these keys.

    Args:
        body: The answer.
        what: What it is to say.
        needed: The keys.

    Raises:
        CrmUnknown: It is something else, and nobody can tell what was done.
    """
    if not isinstance(body, dict) or any(name not in body for name in needed):
        raise CrmUnknown(f"Salesforce's answer does not say {what}: {words_of(body)}")
    return body


def _grant(variables: Mapping[str, str]) -> tuple[Callable[[], dict[str, str]], list[str]]:
    """What is asked for a token with, made anew each time; and the secrets in it."""
    client_id = variables.get(f"{PREFIX}CLIENT_ID")
    secret = variables.get(f"{PREFIX}CLIENT_SECRET")
    key = variables.get(f"{PREFIX}PRIVATE_KEY")
    if not client_id or not (secret or key):
        raise ValueError(
            f"{PREFIX}CLIENT_ID and {PREFIX}CLIENT_SECRET are not set (or {PREFIX}USERNAME and {PREFIX}PRIVATE_KEY "
            "for a certificate): docs/crm.md says where Salesforce shows them"
        )
    if not key:
        said = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": str(secret)}
        return lambda: said, [str(secret)]
    return _signed(client_id, key, variables)


def _signed(client_id: str, key: str, variables: Mapping[str, str]) -> tuple[Callable[[], dict[str, str]], list[str]]:
    try:
        import jwt
    except ImportError:
        raise ValueError("a certificate needs the package pyjwt: .venv/bin/pip install -e '.[salesforce]'") from None
    username = variables.get(f"{PREFIX}USERNAME")
    if not username:
        raise ValueError(f"{PREFIX}USERNAME is not set: with a certificate Salesforce wants to know as whom we act")
    pem = key.replace("\\n", "\n") if "-----BEGIN" in key else _read_key(Path(key).expanduser())
    claims = {"iss": client_id, "sub": username, "aud": variables.get(f"{PREFIX}LOGIN_URL", LOGIN_URL)}

    def grant() -> dict[str, str]:
        until = int(time.time()) + _ASSERTED_SECONDS
        return {"grant_type": _JWT, "assertion": jwt.encode({**claims, "exp": until}, pem, algorithm="RS256")}

    try:
        grant()
    except Exception as error:
        raise ValueError(f"{PREFIX}PRIVATE_KEY is no RSA key in PEM format ({type(error).__name__})") from None
    return grant, [pem, key]


def _read_key(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ValueError(f"{PREFIX}PRIVATE_KEY: {path} can't be read ({error.strerror})") from None


def quoted(text: str) -> str:
    """A text as SOQL writes it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def listed(texts: Sequence[str]) -> str:
    """Texts as SOQL's IN takes them."""
    return f"({', '.join(quoted(text) for text in texts)})"


def _allowance(headers: Mapping[str, str]) -> Allowance:
    """`Sforce-Limit-Info: api-usage=18/5000`, perhaps beside `per-app-api-usage=17/250(appName=...)`."""
    said = re.search(r"(?<![\w-])api-usage=(\d+)/(\d+)", headers.get("Sforce-Limit-Info", ""))
    if not said:
        return Allowance()
    return Allowance(daily=int(said[2]), daily_remaining=int(said[2]) - int(said[1]))
