"""How servers are asked: the options of every command that asks one, and the downloader that they make.

Rules that hold here:

- what an option says is read by :mod:`._options`; here it only gets its name and its help;
- a password is asked for where somebody can answer, and is in no message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ..downloaders.http import HttpDownloader
from ._logs import LEVELS
from ._options import basic_credentials, join_headers, parse_header, parse_proxy, parse_seconds, reading
from ._plan import Settings

__all__ = ["log_level_option", "network_options", "read_network"]

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option(
        "--timeout",
        "timeout_s",
        callback=reading(parse_seconds),
        metavar="SECONDS",
        help="Give up when a server is silent for so long.  [default: 30]",
    ),
    click.option(
        "--connect-timeout",
        "connect_timeout_s",
        callback=reading(parse_seconds),
        metavar="SECONDS",
        help="Give up when there is no connection after so long.  [default: 10]",
    ),
    click.option(
        "-H",
        "--header",
        "headers",
        callback=reading(parse_header),
        multiple=True,
        metavar="'NAME: VALUE'",
        help="Send this header, to the hosts that you named and to no other. May be given several times.",
    ),
    click.option(
        "--user",
        metavar="NAME[:PASSWORD]",
        help="Log in with this name, on hosts whose URL brings no name of its own. Without a password you are asked "
        "for it, which keeps it out of the list of processes.",
    ),
    click.option(
        "--proxy",
        callback=reading(parse_proxy),
        metavar="URL",
        help="Ask this proxy for everything, as in http://proxy.example:3128. Otherwise the proxy variables of the "
        "environment are heeded.",
    ),
    click.option("--http2", is_flag=True, help="Speak HTTP/2 with servers that can."),
    click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Trust the certificates in FILE and no others. Otherwise those of the system, or of SSL_CERT_FILE.",
    ),
    click.option("--allow-http-downgrade", is_flag=True, help="Follow redirects from https to http."),
    click.option(
        "--deny-private-addresses",
        is_flag=True,
        help="Connect to no address that is not public, such as 127.0.0.1 or 192.168.0.1, whatever name or redirect "
        "leads there: for URLs that strangers chose.",
    ),
)

log_level_option: Final = click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="error",
    show_default=True,
    help="Show the library's log from this level up, on standard error.",
)

_OF_THE_CLIENT: Final = ("proxy", "http2", "ca_file")

# Flags that switch something off, and what the library calls it.
_NEGATED: Final = {"no_resume": "resume", "deny_private_addresses": "allow_private_addresses"}


def network_options(command: _CommandT) -> _CommandT:
    """Give *command* the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_network(fields: dict[str, Any]) -> tuple[HttpDownloader, Settings]:
    """Return who asks the servers, and what is said for all URLs.

    Args:
        fields: what click made of the options above, and download options by their names in the library or negated, as
            in ``no_resume``.  What was left alone is None, False or an empty tuple.

    Raises:
        ValueError: options contradict each other, or nobody is there who could be asked for a password.
    """
    # By identity: 0 is a limit.
    given = {name: value for name, value in fields.items() if value is not None and value is not False and value != ()}
    client = {name: given.pop(name) for name in _OF_THE_CLIENT if name in given}
    headers, user = given.pop("headers", ()), given.pop("user", None)
    if "deny_private_addresses" in given:
        for name in ("proxy", "http2"):
            if name in client:
                raise ValueError(
                    f"--deny-private-addresses and --{name} contradict each other, since it would not be certain what "
                    f"is connected to; leave one of them out"
                )
    given |= {_NEGATED[name]: False for name in _NEGATED if given.pop(name, False)}
    settings = Settings(
        fields=given, headers=join_headers(headers), authorization=None if user is None else _credentials(user)
    )
    return HttpDownloader(**client), settings


def _credentials(user: str) -> str:
    name, colon, password = user.partition(":")
    if not colon:
        if sys.stdin is None or not sys.stdin.isatty():
            raise ValueError("--user without a password asks for it, which takes a terminal; write NAME:PASSWORD")
        password = click.prompt(f"Password of {name}", hide_input=True, err=True)
    return basic_credentials(name, password)
