"""The command as a whole: its subcommands, and what an exception means for the exit code.

Rules that hold here:

- 0: all was delivered; 1: something was not; 2: the command line was wrong, and nothing was fetched; 128 and the number
  of the signal after a signal;
- usage errors are click's, everything else that goes wrong is one line on stderr.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, Final

import click

import trio_dlm

from ._demo import demo
from ._get import get
from ._probe import probe
from ._report import in_words

__all__ = ["app", "run_app"]

_SETTINGS: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_SETTINGS)
@click.version_option(trio_dlm.__version__, "-V", "--version", prog_name="trio-dlm")
def app() -> None:
    """Download files: several at a time, each one whole and verified, or not there at all.

    \b
    Start with
      trio-dlm demo
      trio-dlm probe https://example.org/big.iso
      trio-dlm get https://example.org/big.iso
    """  # noqa: D301  (\b is click's mark of a paragraph that is not to be wrapped)


app.add_command(get)
app.add_command(probe)
app.add_command(demo)


def run_app(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    try:
        code = app.main(list(arguments), prog_name="trio-dlm", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("trio-dlm: stopped before anything was fetched", err=True)
        return 128 + signal.SIGINT
    except Exception as exc:  # noqa: BLE001 -- a user gets words; logging_to() has shown the traceback to those who want it
        click.echo(f"trio-dlm: {in_words(exc)}", err=True)
        return 1
    return code if isinstance(code, int) else 0
