"""What is said about a catalogue that can't be used."""

import pytest

from dagster_project.core.event_catalog import problems_of_catalog
from dagster_project.event_catalog import check_catalog

HEADER = "event_name,match,signal,feature,is_action\n"
GOOD = HEADER + "Invite Sent,track,team_invite,,true\n"
WORDS = {"match": ["track", "page"], "signal": ["team_invite"], "is_action": ["true", "no"]}


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\n", "\r\n") + "\r\n",
        "\ufeff" + GOOD + 'Board "B",track,,boards,\n"a, b",Page ,,,No\n',
        "match,event_name,is_action,signal,feature,owner\ntrack,Invite Sent,,team_invite,,Ann\n",
        HEADER + "Invite Sent,track\n",
        HEADER.upper() + "Invite Sent,track,null,NULL,\n",
    ],
)
def test_a_catalogue_may_be_written_in_several_ways(text: str) -> None:
    assert problems_of_catalog(text.encode(), WORDS) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "row 1 has nothing, expected event_name,match,signal,feature,is_action, separated by commas"),
        (GOOD.replace(",", ";").encode(), "row 1 has event_name;match;signal;feature;is_action, expected"),
        (b"event_name,match\nx,track\n", "missing: signal, feature, is_action"),
        (HEADER.encode(), "it names no event"),
        (GOOD.encode() + b"M\xfcller,track,,,\n", "row 3 is no UTF-8"),
        (GOOD.encode() + b'"Team Member,track,team_invite,,\n', "is there a quotation mark that is not closed?"),
        (GOOD.encode() + b"x,click,,,\n", "row 3: match is 'click', expected one of track, page"),
        (GOOD.encode() + b"x,track,invites,,\n", "row 3: signal is 'invites', expected one of team_invite"),
        (GOOD.encode() + b"x,track,,,maybe\n", "row 3: is_action is 'maybe', expected one of true, no"),
        (GOOD.encode() + b",track,,,\n", "row 3: event_name is empty"),
        (GOOD.encode() + b"a, b,track,,,\n", "row 3: 6 fields, expected 5"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(content: bytes, said: str) -> None:
    assert said in "\n".join(problems_of_catalog(content, WORDS))


def test_the_packaged_catalogue_can_be_used() -> None:
    check_catalog()
