"""What somebody has to know of, and do something about, after fields of a CRM were planned or written; a line each."""

from collections import Counter

from dagster_project.activation import SyncResult
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.core.sync import REFUSED_BEFORE


def too_many(planned: int, rules: CrmFieldRules, crm: str, *, yes: bool) -> str | None:
    """Why a plan is not carried out, None if it is."""
    allowed = rules.changes_allowed(crm)
    if yes or allowed is None or planned <= allowed:
        return None
    return (
        f"{planned:,} records of {crm} would change, and crm_fields.yml allows {allowed:,} (max_changed_records): "
        "nothing was sent. `pls sync --dry-run` shows them, `pls sync --yes` writes them"
    )


def still_refused(kind: str, counts: Counter[str], known: int, rules: CrmFieldRules) -> str | None:
    """What was refused in earlier runs, if it is more than a run may be refused; None if it is not.

    Args:
        kind: contact or account.
        counts: Of the plan of all records, see `counts_of`.
        known: How many records there are.
        rules: `crm_fields.yml`.
    """
    refused = counts[f"skipped: {REFUSED_BEFORE}"]
    if refused < rules.refused.at_least or refused <= rules.refused.share * known:
        return None
    return (
        f"{refused:,} of {known:,} {kind}s were refused before and are not sent until they change: "
        "`pls sync --retry-parked` tries them again"
    )


def troubles_of(results: dict[str, SyncResult], rules: CrmFieldRules, held_back: str | None) -> list[str]:
    """What somebody has to know of and do something about, a line each."""
    troubles = [held_back] if held_back else []
    for kind, result in results.items():
        refused, sent = len(result.refused), result.written + len(result.refused)
        if refused >= rules.refused.at_least and refused > rules.refused.share * sent:
            [(object_id, why), *_] = result.refused.items()
            troubles.append(f"{refused} of {sent} {kind}s were refused, such as {object_id}: {why}")
        if result.cause:
            troubles.append(f"{result.failed} {kind}s are left for the next run: {result.cause}")
        if result.mismatched:
            [(object_id, why), *_] = result.mismatched.items()
            troubles.append(
                f"{len(result.mismatched)} of {result.verified} {kind}s that were read back do not hold what was "
                f"written, such as {object_id}: it {why}"
            )
    return troubles
