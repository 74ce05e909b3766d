"""Which chat is set up, and how one is opened."""

from pathlib import Path

from dagster_project.clients.chat import Chat
from dagster_project.clients.outbox import Outbox
from dagster_project.clients.slack import SlackBot, SlackWebhook
from dagster_project.core.delivery_rules import SlackRules
from dagster_project.settings import SlackAccess


def connect_chat(slack: SlackAccess, rules: SlackRules, *, outbox: Path) -> Chat:
    """Slack's bot, else its webhook, else the outbox: whichever is set up.

    Args:
        slack: How Slack is reached, if at all.
        rules: How long it is waited for.
        outbox: The folder that stands for a chat while none is connected.
    """
    if slack.bot_token:
        return SlackBot(slack.bot_token, slack.base_url, longest_wait=rules.longest_wait_seconds)
    if slack.webhook_url:
        return SlackWebhook(slack.webhook_url)
    return Outbox(outbox)


def look_up_after(chat: Chat, rules: SlackRules) -> float:
    """Seconds after which a letter that was posted can be found where it went."""
    return rules.look_up_after_seconds if chat.name == SlackBot.name else 0.0
