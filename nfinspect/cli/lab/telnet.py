"""``nfinspect lab telnet``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from nfinspect.cli.errors import Failure


@click.command(short_help="Talk to a mail server, line by line or key by key.")
@click.argument("host")
@click.argument("port", type=int, default=25)
@click.option("--keys", is_flag=True, help="Send each key by itself, as PuTTY does.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a reply.",
)
def telnet(host: str, port: int, keys: bool, timeout: float) -> None:
    """Talk to the mail server HOST: lines of the standard input are sent, one after each reply.

    Inside a lab: nfinspect lab exec client nfinspect lab telnet mail.example

    The exit status is 1 if a reply does not come.
    """
    from nfinspect.lab import telnet as session

    with session.connect(host, port, timeout) as client:
        try:
            for reply in session.converse(client, _lines(), keys=keys):
                click.echo(reply)
        except TimeoutError:
            raise Failure(f"no answer in {timeout:g} seconds") from None
        except ConnectionError:
            raise Failure("the server has closed the connection") from None


def _lines() -> Iterator[str]:
    """The lines typed; repeated, unless a terminal does that."""
    for line in sys.stdin:
        text = line.rstrip("\r\n")
        if not sys.stdin.isatty():
            click.echo(text)
        yield text
