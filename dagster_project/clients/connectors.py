"""Which CRMs can be connected, and how one is opened. Another one is a module of its own and a line here."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from dagster_project.clients.crm import CrmClient
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.crm_source_rules import CrmSourceRules

LOCAL = "local"
CONNECTORS = {
    "hubspot": "dagster_project.clients.hubspot",
    "salesforce": "dagster_project.clients.salesforce",
}
"""PLS_CRM -> the module, whose `connect(variables, rules)` takes the variables that begin with PLS_<name>_."""


def connect_crm(crm: str, variables: Mapping[str, str], rules: CrmSourceRules, *, local: Path) -> CrmClient:
    """The CRM that the user chose.

    Args:
        crm: `local` or one of `CONNECTORS`.
        variables: Its variables, those that are set.
        rules: `crm_sources.yml`.
        local: Where the embedded one keeps its file.

    Raises:
        ValueError: A variable is missing or can't be used, or a package that it needs is not installed.
    """
    if crm == LOCAL:
        return LocalCrm(local)
    client: CrmClient = import_module(CONNECTORS[crm]).connect(variables, rules)
    return client
