"""Segments: where the lines run, who wins over them, and what is only assumed."""

from typing import Any

import pytest
from scoring_frames import PLAYBOOK, accounts, users

from dagster_project.core.segments import segment_accounts, segment_users

RULES = PLAYBOOK.segments


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ({"employee_count": 1001}, ("enterprise", "sales-led", "computed")),
        ({"employee_count": 1000}, ("mid-market", "sales-assist", "computed")),
        ({"estimated_acv": 50000.01}, ("enterprise", "sales-led", "computed")),
        ({"estimated_acv": 50000.0}, ("smb", "self-serve", "computed")),
        ({"employee_count": 51}, ("mid-market", "sales-assist", "computed")),
        ({"employee_count": 50}, ("smb", "self-serve", "computed")),
        ({"employee_count": 20, "active_users_30d": 11}, ("mid-market", "sales-assist", "computed")),
        ({"active_users_30d": 11}, ("mid-market", "sales-assist", "computed")),
        ({"active_users_30d": 10}, ("smb", "self-serve", "unknown")),
        ({}, ("smb", "self-serve", "unknown")),
        ({"segment_override": "smb", "employee_count": 9000}, ("smb", "self-serve", "override")),
        ({"segment_override": " Mid Market "}, ("mid-market", "sales-assist", "override")),
        ({"segment_override": "mid_market"}, ("mid-market", "sales-assist", "override")),
        ({"segment_override": "strategic", "employee_count": 9000}, ("enterprise", "sales-led", "computed")),
    ],
)
def test_accounts(account: dict[str, Any], expected: tuple[str, str, str]) -> None:
    row = segment_accounts(accounts(account), RULES).row(0, named=True)
    assert (row["segment"], row["motion"], row["segment_source"]) == expected


def test_users_have_the_segment_of_their_account() -> None:
    placed = segment_accounts(accounts({"account_id": "a_9", "employee_count": 2000}), RULES)
    row = segment_users(users({"account_id": "a_9"}), placed, RULES).row(0, named=True)
    assert (row["fit_tier"], row["segment"], row["motion"]) == ("enterprise", "enterprise", "sales-led")


@pytest.mark.parametrize(
    ("account", "source"),
    [({}, "unknown"), ({"segment_override": "smb"}, "override"), ({"employee_count": 5}, "computed")],
)
def test_users_know_how_sure_the_segment_of_their_account_is(account: dict[str, Any], source: str) -> None:
    """A self-serve motion that is only assumed goes to research, not to the automation."""
    row = segment_users(users({"account_id": "a_1"}), segment_accounts(accounts(account), RULES), RULES)
    assert row["segment_source"].to_list() == [source]


def test_a_user_without_an_account_is_a_consumer() -> None:
    row = segment_users(users({}), segment_accounts(accounts(), RULES), RULES).row(0, named=True)
    assert (row["fit_tier"], row["segment"], row["motion"], row["segment_source"]) == (
        "consumer",
        "smb",
        "self-serve",
        "computed",
    )
