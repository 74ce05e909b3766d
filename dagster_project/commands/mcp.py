"""`pls mcp`: the assistant's tools over MCP, to one client on stdio or to several over HTTP."""

import getpass

import click

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option("--http", is_flag=True, help="Streamable HTTP with bearer tokens (PLS_MCP_TOKENS) instead of stdio.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen with --http.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True)
@click.option(
    "--as", "who", default=None, help="Who asks over stdio; writes are signed with it.  [default: your login]"
)
def mcp(http: bool, host: str, port: int, who: str | None) -> None:
    """Serve the tools of the playbook's assistant.yml to an AI assistant (docs/assistant.md)."""
    try:
        from dagster_project.tools.server import http_app, serve_stdio
    except ImportError as error:
        raise click.ClickException(
            f"the extra `assistant` is not installed ({error}): .venv/bin/pip install -e '.[assistant]'"
        ) from error
    from dagster_project.core.playbook import PlaybookError
    from dagster_project.playbook_files import read_playbook
    from dagster_project.settings import environment_settings
    from dagster_project.tools import Tools

    settings = environment_settings()
    if http and not settings.mcp_tokens:
        raise click.ClickException(
            "PLS_MCP_TOKENS is not set; expected who may ask, such as ann@acme.com=<20 or more random characters>"
        )
    try:
        tools = Tools(settings, read_playbook(settings.playbook_dir), who=who or getpass.getuser())
    except PlaybookError as error:
        raise click.ClickException(str(error)) from error
    with tools:
        if not http:
            serve_stdio(tools)
            return
        import uvicorn

        if host not in LOOPBACK:
            click.echo(
                f"{host} is more than this machine: put TLS in front of it, or tokens travel in the clear", err=True
            )
        click.echo(f"Serving {len(tools.listed())} tools on http://{host}:{port}/mcp; stop with Ctrl-C", err=True)
        uvicorn.run(http_app(tools, settings.mcp_tokens, host=host), host=host, port=port, log_level="warning")
