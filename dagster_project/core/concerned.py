"""Whom the decisions of a run can be about, told from narrow columns of everybody.

Decisions need everything that is known of a person, but only of few: of whom a trigger or a rule fires or re-arms for,
of those who wait, and of the best user of an account that fired itself. Everybody else changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from dagster_project.core.audiences import AUDIENCE_COLUMNS
from dagster_project.core.automation import RISE_SCHEMA, rule_conditions
from dagster_project.core.candidates import open_candidates
from dagster_project.core.feeds import Silence
from dagster_project.core.standings import (
    ACCOUNT_FLAGS,
    CHAMPION_COLUMNS,
    STANDING_OF_ACCOUNTS,
    STANDING_OF_USERS,
    USER_FLAGS,
    best_contactable,
    with_block_reasons,
)
from dagster_project.core.triggers import conditions, moves

if TYPE_CHECKING:
    from dagster_project.core.playbook import Playbook

USER_COLUMNS = (
    "as_of", "user_id", "account_id", "email", "first_event_at", "last_upgrade_click_at", "last_limit_contact_at",
    "last_sales_request_at", "pricing_visits", "pql_score", "usage_tier", "activation_stage", "reactivated_at",
    "previous_active_day",
    "subscription_status", "subscription_status_since", *USER_FLAGS, "suppression_reason",
)  # fmt: skip
ACCOUNT_COLUMNS = (
    "account_id", "active_users_30d", "segment", "is_target_account", "subscription_status",
    "subscription_status_since", *ACCOUNT_FLAGS, "suppression_reason",
)  # fmt: skip
"""What is read of everybody: what conditions and no-contact rules look at."""
DECIDED_OF_USERS = tuple(dict.fromkeys((*USER_COLUMNS, "last_active_at", *STANDING_OF_USERS, *AUDIENCE_COLUMNS)))
DECIDED_OF_ACCOUNTS = tuple(dict.fromkeys((*ACCOUNT_COLUMNS, *STANDING_OF_ACCOUNTS, "in_crm", "account_tier")))
"""What is read of the concerned. More is told only of those who are handed over."""


def conditions_of_users(
    users: pl.DataFrame,
    accounts: pl.DataFrame,
    rises: pl.DataFrame,
    playbook: Playbook,
    *,
    silences: Sequence[Silence] = (),
) -> pl.DataFrame:
    """The conditions of triggers and rules that are about people, as `triggers.CONDITION_SCHEMA`.

    Args:
        users: `USER_COLUMNS` of some users.
        accounts: `ACCOUNT_COLUMNS`, theirs among them.
        rises: Theirs, `automation.RISE_SCHEMA`.
        playbook: The rules.
        silences: When feeds of events were silent.
    """
    theirs = accounts.join(users, on="account_id", how="semi")
    found = [
        conditions(users, theirs, playbook),
        rule_conditions(users, theirs, rises, playbook, silences=silences),
    ]
    return pl.concat(found).filter(pl.col("subject_type") == "user")


def conditions_of_accounts(nobody: pl.DataFrame, accounts: pl.DataFrame, playbook: Playbook) -> pl.DataFrame:
    """The conditions that are about accounts.

    Args:
        nobody: A frame with `USER_COLUMNS` and no row.
        accounts: `ACCOUNT_COLUMNS`.
        playbook: The rules.
    """
    found = [
        conditions(nobody, accounts, playbook),
        rule_conditions(nobody, accounts, RISE_SCHEMA.to_frame(), playbook),
    ]
    return pl.concat(found)


def concerned_by_accounts(
    accounts: pl.DataFrame, nobody: pl.DataFrame, states: pl.DataFrame, waiting: pl.DataFrame, playbook: Playbook
) -> Concerned:
    """Whom some accounts and what waits make decisions be about, before any user is looked at.

    Args:
        accounts: `ACCOUNT_COLUMNS`.
        nobody: A frame with `USER_COLUMNS` and no row.
        states: What the ledger kept of the accounts' triggers and rules.
        waiting: Candidates that are decided again.
        playbook: The rules.

    Returns:
        `accounts` fired themselves, or wait: the best of their users is yet to be found. `users` wait.
    """
    concerned = Concerned(accounts, states, waiting, playbook)
    concerned.look_at(nobody, RISE_SCHEMA.to_frame())
    return concerned


class Concerned:
    """Collects whom decisions can be about, while users go by a portion at a time.

    Args:
        accounts: `ACCOUNT_COLUMNS` of all accounts.
        states: What the ledger kept of triggers and rules.
        waiting: What it kept of candidates that wait.
        playbook: The rules.
        silences: When feeds of events were silent.
    """

    def __init__(
        self,
        accounts: pl.DataFrame,
        states: pl.DataFrame,
        waiting: pl.DataFrame,
        playbook: Playbook,
        *,
        silences: Sequence[Silence] = (),
    ) -> None:
        self._accounts, self._states, self._playbook, self._silences = accounts, states, playbook, silences
        waits: dict[str, set[str]] = {"user": set(), "account": set()}
        for was in open_candidates(waiting, playbook.handoffs):
            for firing in was.firings:
                waits[firing.subject_type].add(firing.subject_id)
        self._users, self._account_ids = waits["user"], waits["account"]
        self._fired: pl.DataFrame | None = None
        self._champions: pl.DataFrame | None = None

    def look_at(self, users: pl.DataFrame, rises: pl.DataFrame) -> None:
        """Look at some users.

        Args:
            users: `USER_COLUMNS`.
            rises: Theirs, `automation.RISE_SCHEMA`.
        """
        if self._fired is None:
            self._account_ids |= self._moved(conditions_of_accounts(users.clear(), self._accounts, self._playbook))
            self._fired = pl.DataFrame({"account_id": sorted(self._account_ids)}, schema={"account_id": pl.String})
        current = conditions_of_users(users, self._accounts, rises, self._playbook, silences=self._silences)
        self._users |= self._moved(current)
        colleagues = users.join(self._fired, on="account_id", how="semi")
        best = best_contactable(with_block_reasons(colleagues, self._accounts)).select(CHAMPION_COLUMNS)
        self._champions = best if self._champions is None else best_contactable(pl.concat([self._champions, best]))

    def _moved(self, current: pl.DataFrame) -> set[str]:
        return set(moves(current, self._states)["subject_id"])

    @property
    def users(self) -> set[str]:
        """Their ids."""
        return self._users.union([] if self._champions is None else self._champions["user_id"])

    @property
    def accounts(self) -> set[str]:
        """The ids of accounts that are concerned themselves, and not through their users."""
        return self._account_ids
