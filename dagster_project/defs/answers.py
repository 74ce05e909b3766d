"""What sellers answered in the CRM, read back before anything is decided or anybody is reminded."""

import dagster as dg

from dagster_project.clients.crm import CrmError
from dagster_project.clients.slack import SlackBot
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.transform import OWNERS
from dagster_project.ledger import Ledger
from dagster_project.ledger_memory import check_memory
from dagster_project.task_answers import read_task_answers


@dg.asset(
    key=["handoffs", "answers"],
    deps=[["raw", "crm_records"]],
    group_name="handoffs",
    owners=OWNERS,
    kinds={"crm"},
    pool=WAREHOUSE_POOL,
)
def handoff_answers(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Outcomes of closed CRM tasks as answers to their handoffs. One row per answer, in the ledger."""
    with workplace.connect(stays_open=True) as connection, workplace.ledger() as ledger:
        check_memory(ledger, connection, workplace.settings)
    with workplace.ledger() as ledger:
        return dg.MaterializeResult(metadata=read_back(ledger, workplace, context.log))


def read_back(ledger: Ledger, workplace: Workplace, log: dg.DagsterLogManager) -> dict[str, int | str]:
    """Read the tasks; a CRM that can't be read now keeps nothing else from going on."""
    rules = workplace.playbook.delivery.task_outcomes
    try:
        new = read_task_answers(ledger, workplace.crm(), rules, chat=SlackBot.name, now=workplace.now())
    except CrmError as error:
        log.warning(f"answers in the CRM were not read: {error}")
        return {"not read": str(error)}
    return {"new": new}
