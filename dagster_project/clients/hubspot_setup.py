"""Our properties in a HubSpot account, and the scopes that are needed for all of it.

Facts (vendor's reference, 2026-09): properties are made in batches, in a group; `hasUniqueValue` makes one that
identifies a record; a private app's token can be asked for its scopes.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from dagster_project.clients.crm import CrmDenied, CrmRefused, FieldSpec
from dagster_project.clients.crm_values import crm_errors
from dagster_project.clients.http import HttpApi

KEY, OUTCOME = "pls_key", "pls_outcome"
GROUP = "product_led_sales"
SCOPES = (
    "crm.objects.companies.read", "crm.objects.companies.write", "crm.objects.contacts.read",
    "crm.objects.contacts.write", "crm.objects.deals.read", "crm.objects.owners.read", "crm.schemas.companies.read",
    "crm.schemas.companies.write", "crm.schemas.contacts.read", "crm.schemas.contacts.write", "tickets",
)  # fmt: skip
_KINDS = {
    "number": ("number", "number"),
    "text": ("string", "text"),
    "list": ("string", "textarea"),
    "date": ("date", "date"),
    "moment": ("datetime", "date"),
    "flag": ("bool", "booleancheckbox"),
}
_OWN_FIELDS = {
    "contacts": (FieldSpec("pls_do_not_contact", "Do not contact", "flag"),),
    "companies": (
        FieldSpec("pls_do_not_contact", "Do not contact", "flag"),
        FieldSpec("pls_segment_override", "Segment override", "text"),
    ),
    "tasks": (FieldSpec(KEY, "Key", "text"), FieldSpec(OUTCOME, "Outcome", "text")),
}
"""Fields that people or the connector itself need, made with the ones that are asked for."""


class HubSpotSetup:
    """Makes properties in one account.

    Args:
        api: The account.
        token: Asked about in `missing_scopes`.
        version: Of the API.
        describe: HubSpot's object -> its properties by name.
    """

    def __init__(self, api: HttpApi, *, token: str, version: str, describe: Callable[[str], Collection[str]]) -> None:
        self._api = api
        self._token = token
        self._version = version
        self._describe = describe

    def create_fields(self, kind: str, specs: Sequence[FieldSpec]) -> None:
        """Make those that are missing of them and of what the connector itself needs. Raises CrmRefused."""
        for where, wanted in ((kind, [*specs, *_OWN_FIELDS[kind]]), ("tasks", list(_OWN_FIELDS["tasks"]))):
            missing = {spec.name: spec for spec in wanted if spec.name not in self._describe(where)}
            if missing:
                self._create_properties(where, list(missing.values()))

    def _create_properties(self, kind: str, specs: Sequence[FieldSpec]) -> None:
        path = f"/crm/properties/{self._version}/{kind}"
        with crm_errors():
            group = {"name": GROUP, "label": "Product-led sales"}
            self._api.request("POST", f"{path}/groups", body=group, also=[409])  # 409: it is there
            inputs = [_definition(spec) for spec in specs]
            answer = self._api.request("POST", f"{path}/batch/create", body={"inputs": inputs}).body
        errors = answer.get("errors") or []
        if errors:
            raise CrmRefused("; ".join(str(error.get("message")) for error in errors))

    def missing_scopes(self) -> list[str]:
        """Scopes that the token lacks."""
        path = "/oauth/v2/private-apps/get/access-token-info"
        try:
            with crm_errors():
                said = self._api.request("POST", path, body={"tokenKey": self._token}).body
        except CrmRefused:
            return self._refused_scopes()
        return sorted(set(SCOPES) - set(said.get("scopes", [])))

    def _refused_scopes(self) -> list[str]:
        """For a token that HubSpot does not tell about: the scopes of what can't be read. Writing can't be tried."""
        missing = []
        paths = {
            f"crm.objects.{kind}.read": f"objects/{self._version}/{kind}" for kind in ("contacts", "companies", "deals")
        }
        paths |= {"tickets": f"objects/{self._version}/tickets", "crm.objects.owners.read": f"owners/{self._version}"}
        for scope, path in paths.items():
            try:
                with crm_errors():
                    self._api.request("GET", f"/crm/{path}", params={"limit": 1})
            except CrmDenied:
                missing.append(scope)
        return sorted(missing)


def _definition(spec: FieldSpec) -> dict[str, Any]:
    kind, shown = _KINDS[spec.kind]
    said: dict[str, Any] = {
        "name": spec.name,
        "label": spec.label,
        "groupName": GROUP,
        "type": kind,
        "fieldType": shown,
    }
    if spec.name == KEY:
        said["hasUniqueValue"] = True
    if spec.kind == "flag":
        said["options"] = [{"label": "Yes", "value": "true"}, {"label": "No", "value": "false"}]
    return said
