"""`pls serve`: listens to the buttons of handoffs in Slack."""

from datetime import UTC, datetime

import click

LONGEST_WAIT = 30.0
"""Seconds that an answer is waited for to be shown in Slack: whoever pressed the next button waits as well."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8743, show_default=True)
def serve(host: str, port: int) -> None:
    """Listen to the buttons of handoffs in Slack; put a public https address in front of it (docs/slack.md)."""
    import uvicorn

    from dagster_project.clients.slack import SlackBot
    from dagster_project.ledger import Ledger
    from dagster_project.serve import Clicks, slack_app
    from dagster_project.settings import environment_settings

    settings = environment_settings()
    slack = settings.slack
    if slack.signing_secret is None:
        raise click.ClickException(
            "PLS_SLACK_SIGNING_SECRET is not set: without it nobody can tell Slack's requests from others; "
            "it is on the app's page under Basic Information"
        )
    if slack.bot_token is None:
        _say("PLS_SLACK_BOT_TOKEN is not set: answers are kept, and messages stay as they are")
    bot = SlackBot(slack.bot_token, slack.base_url, longest_wait=LONGEST_WAIT) if slack.bot_token else None
    _say(f"Listening on http://{host}:{port}/slack/actions; stop with Ctrl-C")
    clicks = Clicks(Ledger(settings.ledger_url), bot, slack.signing_secret, _say)
    uvicorn.run(slack_app(clicks), host=host, port=port, log_level="warning", server_header=False)


def _say(text: str) -> None:
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {text}")
