"""What somebody does with the product, what for, and what stands in their way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dagster_project.core.escaping import plain
from dagster_project.core.handoff_rules import PackageRules
from dagster_project.core.package_model import Line
from dagster_project.core.wording import Row, listing, many


def product_context(person: Row, rules: PackageRules) -> Iterator[Line]:
    """The lines of section 6's product context: features, use case, blockers; none of them is ever empty."""
    features = features_of(person)
    yield Line("Features used", _shown(features, rules.features) or "none in the window")
    name, matching = use_case(features, rules)
    if name:
        yield Line("Use case", f"{name} (inferred from {listing(matching, len(matching))})")
    elif features:
        yield Line("Use case", f"not one we know; it is built on {listing(features, rules.features)}")
    else:
        yield Line("Use case", "nothing to infer it from yet: ask what they came for")
    yield Line("Blockers", "; ".join(blockers(person, rules)) or "none seen")


def features_of(person: Row) -> list[str]:
    """The features somebody used in the window."""
    return [text for feature in person["features_used"] or () if (text := plain(feature))]


def _shown(features: Sequence[str], limit: int) -> str:
    more = f" and {len(features) - limit} more" if len(features) > limit else ""
    return ", ".join(features[:limit]) + more


def use_case(features: Sequence[str], rules: PackageRules) -> tuple[str | None, list[str]]:
    """The use case that most features speak for, and those features; None when too few do."""
    used = {feature.lower(): feature for feature in features}
    best: tuple[str | None, list[str]] = (None, [])
    for case in rules.use_cases:
        matching = [used[feature] for feature in case.features if feature in used]
        if len(matching) >= rules.use_case_min_features and len(matching) > len(best[1]):
            best = (case.name, matching)
    return best


def blockers(person: Row, rules: PackageRules) -> Iterator[str]:
    """What keeps somebody from going on, each in a few words."""
    if hits := person["limit_hit"]:
        latest = f", last on {person['last_limit_hit_at']:%Y-%m-%d}" if person["last_limit_hit_at"] else ""
        yield f"{many(hits, 'plan limit hit', 'plan limits hit')}{latest}"
    if waiting := [ticket for ticket in person["limit_tickets"] or () if not _is_solved(ticket, rules)]:
        yield many(len(waiting), "open ticket about limits", "open tickets about limits")
    if imports := troubled_imports(person):
        yield imports + (", other data is in" if person["data_imported"] == "full" else "")
    done, total = len(person["setup_steps_done"] or ()), person["setup_steps_total"] or 0
    if done < total:
        yield f"set-up unfinished: {done} of {many(total, 'step')} done"


def troubled_imports(person: Row) -> str:
    """How many imports failed or came in only in part, in words; empty for none."""
    counts = {kind: person[f"imports_{kind}"] or 0 for kind in ("failed", "partial")}
    return " and ".join(many(count, f"{kind} import") for kind, count in counts.items() if count)


def is_import_in_the_way(person: Row) -> bool:
    """Whether an import failed or came in only in part, and none has come in whole."""
    return bool(troubled_imports(person)) and person["data_imported"] != "full"


def is_limit_contact_solved(person: Row, rules: PackageRules) -> bool:
    """Whether the latest word about limits is a ticket, and support has solved it."""
    tickets = sorted(person["limit_tickets"] or (), key=lambda ticket: ticket["created_at"])
    if not tickets or not person["last_limit_contact_at"]:
        return False
    return tickets[-1]["created_at"] >= person["last_limit_contact_at"] and _is_solved(tickets[-1], rules)


def _is_solved(ticket: Row, rules: PackageRules) -> bool:
    return plain(ticket["status"]).lower() in rules.solved_tickets
