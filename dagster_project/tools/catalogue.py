"""Which tools there are: those that the whitelist names, and no other."""

from collections.abc import Iterator

from dagster_project.core.playbook import Playbook
from dagster_project.tools.alerts import explain_tool
from dagster_project.tools.assessing import assess_tool
from dagster_project.tools.customers import get_customer_data_tool
from dagster_project.tools.desk import Tool
from dagster_project.tools.leads import get_hottest_tool
from dagster_project.tools.metrics import get_metrics_tool
from dagster_project.tools.notifications import send_notification_writer
from dagster_project.tools.questions import ask_tool
from dagster_project.tools.records import update_record_writer
from dagster_project.tools.segments import get_segment_tool
from dagster_project.tools.writes import Writer, writing_tools


def listed_tools(playbook: Playbook) -> list[Tool]:
    """The tools of a playbook, reading ones first.

    Raises:
        PlaybookError: The whitelist names something that does not exist.
    """
    return [*_reading(playbook), *writing_tools(list(_writers(playbook)))]


def _reading(playbook: Playbook) -> Iterator[Tool]:
    reads = playbook.assistant.reads
    if reads.get_hottest:
        yield get_hottest_tool()
    if reads.assess:
        yield assess_tool()
    if reads.explain:
        yield explain_tool()
    if reads.get_metrics:
        yield get_metrics_tool(reads.get_metrics, window_days=playbook.scoring.measurement.window_days)
    if reads.get_customer_data:
        yield get_customer_data_tool(reads.get_customer_data)
    if reads.get_segment:
        yield get_segment_tool()
    if reads.ask:
        yield ask_tool(reads.ask)


def _writers(playbook: Playbook) -> Iterator[Writer]:
    writes = playbook.assistant.writes
    if writes.send_notification:
        yield send_notification_writer(writes.send_notification)
    if writes.update_record:
        yield update_record_writer(writes.update_record)
