"""Custom fields in a Salesforce org, and the right to see them: a new field shows to nobody until it is granted.

Facts: fields are made through the Tooling API (`CustomField`, those of tasks on `Activity`); rights are records of
`FieldPermissions` in a `PermissionSet`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dagster_project.clients.crm import CrmDenied, CrmRefused, FieldSpec
from dagster_project.clients.salesforce_api import SalesforceApi, object_of, quoted

KEY, OUTCOME = "pls_key__c", "pls_outcome__c"
PERMISSIONS = "Product_led_sales"
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "number": {"type": "Number", "precision": 18, "scale": 4},
    "text": {"type": "Text", "length": 255},
    "list": {"type": "LongTextArea", "length": 32768, "visibleLines": 4},
    "date": {"type": "Date"},
    "moment": {"type": "DateTime"},
    "flag": {"type": "Checkbox", "defaultValue": False},
}
_KEY_FIELD = FieldSpec(KEY, "Key of product-led sales", "text")
_OWN_FIELDS = {
    "Contact": (_KEY_FIELD, FieldSpec("pls_do_not_contact__c", "Do not contact", "flag")),
    "Lead": (_KEY_FIELD, FieldSpec("pls_do_not_contact__c", "Do not contact", "flag")),
    "Account": (
        FieldSpec("pls_do_not_contact__c", "Do not contact", "flag"),
        FieldSpec("pls_segment_override__c", "Segment override", "text"),
    ),
    "Task": (_KEY_FIELD, FieldSpec(OUTCOME, "Outcome", "text")),
}
"""Fields that people or the connector itself need."""
_RIGHTS = {
    "Contact": ("queryable", "updateable"),
    "Lead": ("queryable", "updateable"),
    "Account": ("queryable", "updateable"),
    "Task": ("queryable", "createable"),
    "Opportunity": ("queryable",),
    "Case": ("queryable",),
    "User": ("queryable",),
}


def kinds_of(object_type: str) -> tuple[str, ...]:
    """The sObjects that are a `contact` or an `account`."""
    return ("Account",) if object_type == "account" else ("Contact", "Lead")


class SalesforceSetup:
    """Makes fields in one org.

    Args:
        api: The org.
        describe: sObject -> its fields by name.
    """

    def __init__(self, api: SalesforceApi, describe: Callable[[str], Mapping[str, Any]]) -> None:
        self._api = api
        self._describe = describe

    def create_fields(self, object_type: str, specs: Sequence[FieldSpec]) -> None:
        """Make the fields that are missing and grant them to ourselves. Raises CrmRefused with Salesforce's words."""
        made: list[tuple[str, str]] = []
        for kind in (*kinds_of(object_type), "Task"):
            there = self._describe(kind)
            for spec in (*(specs if kind != "Task" else ()), *_OWN_FIELDS[kind]):
                name = spec.name if spec.name.endswith("__c") else f"{spec.name}__c"
                if name not in there and spec.name not in there:
                    self._create(kind, name, spec)
                    made.append((kind, name))
        if made:
            self._grant(made)

    def _create(self, kind: str, name: str, spec: FieldSpec) -> None:
        metadata = {"label": spec.label, **_KINDS[spec.kind]}
        if name == KEY:
            metadata |= {"externalId": True, "unique": True, "caseSensitive": True}
        where = "Activity" if kind == "Task" else kind
        body = {"FullName": f"{where}.{name}", "Metadata": metadata}
        self._api.request("POST", "/tooling/sobjects/CustomField", body=body, may_repeat=False)

    def _grant(self, fields: Sequence[tuple[str, str]]) -> None:
        parent = self._permission_set()
        records = [
            {
                "attributes": {"type": "FieldPermissions"},
                "ParentId": parent,
                "SobjectType": kind,
                "Field": f"{kind}.{name}",
                "PermissionsRead": True,
                "PermissionsEdit": True,
            }
            for kind, name in fields
        ]
        for start in range(0, len(records), 200):
            self._create_records(records[start : start + 200])
        user = self._api.request("GET", "/services/oauth2/userinfo").body["user_id"]
        assignment = {"attributes": {"type": "PermissionSetAssignment"}, "AssigneeId": user, "PermissionSetId": parent}
        self._create_records([assignment])

    def _permission_set(self) -> str:
        """The id of our permission set, which is made if it is not there."""
        for page in self._api.query(f"SELECT Id FROM PermissionSet WHERE Name = {quoted(PERMISSIONS)}"):
            for found in page:
                return str(found["Id"])
        body = {"Name": PERMISSIONS, "Label": "Product-led sales"}
        made = self._api.request("POST", "/sobjects/PermissionSet", body=body, may_repeat=False).body
        return str(object_of(made, "which permission set was made", "id")["id"])

    def _create_records(self, records: Sequence[Mapping[str, Any]]) -> None:
        body = {"allOrNone": False, "records": records}
        answer = self._api.request("POST", "/composite/sobjects", body=body).body
        errors = [error for said in answer or [] for error in said.get("errors") or []]
        refused = [error for error in errors if error.get("statusCode") != "DUPLICATE_VALUE"]
        if refused:
            raise CrmRefused("; ".join(f"{error.get('statusCode')}: {error.get('message')}" for error in refused))

    def missing_rights(self) -> list[str]:
        """What our user may not do, such as `updateable on Lead`."""
        missing = []
        for kind, rights in _RIGHTS.items():
            try:
                said = self._api.request("GET", f"/sobjects/{kind}/describe").body
            except (CrmRefused, CrmDenied):
                said = {}
            missing += [f"{right} on {kind}" for right in rights if not said.get(right)]
        return missing
