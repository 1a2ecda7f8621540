"""Trade live, as a file says: a replay of recorded data or a venue's, on paper or, with --real, with real orders."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from live_trading.announcement import announcement
from live_trading.live_run import run_live
from live_trading.settings_file import load_settings
from live_trading.trading_day import Halted
from market.trades import BadData
from serving.archive_import import UnreadableArchive
from serving.tokens import NoToken
from strategies.checks import BadSetting
from traffic.store import StoreFailed
from wire.errors import RequestError

HALTED = 3
"""Exit status after the kill switch or a loss limit, and at a start on the day of one."""
REAL_ONLY = "real execution with --real expected, was a sandbox: leave the flag out"
REAL_MISSING = "--real with real execution expected, was without it: nothing was started"
words = Console(stderr=True)
app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def live(
    config: Annotated[Path, typer.Argument(help="TOML file; deploy/live/ has examples.")],
    real: Annotated[bool, typer.Option("--real", help="Send real orders, as the file says.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on although trading was halted today.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Trade until the end of the replay, Ctrl-C, the kill switch or a loss limit; status 3 after the last two."""
    try:
        settings = load_settings(config)
        if settings.is_real != real:
            raise BadSetting(f"{config}: {REAL_ONLY if real else REAL_MISSING}")
        words.print(announcement(settings), highlight=False)
        if settings.countdown_s:
            words.print(f"starting in {settings.countdown_s:g} s; Ctrl-C keeps it from starting")
            time.sleep(settings.countdown_s)
        out = words_to_stderr()
        said = run_live(settings, resume, words.print)
    except BadSetting as error:
        raise ended(f"{error}", 2) from None
    except Halted as error:
        raise ended(f"{error}", HALTED) from None
    except (BadData, NoToken, UnreadableArchive, RequestError, StoreFailed, OSError) as error:
        raise ended(f"{error}", 1) from None
    if as_json:
        out.write(json.dumps(said) + "\n")
        out.flush()
    else:
        words.print_json(data=said)
    if said["halted"]:
        raise typer.Exit(HALTED)
    if said["failed"]:
        raise ended(said["ending"] if said["flat"] else "not flat at the end", 1)


def words_to_stderr() -> TextIO:
    """Stdout for the JSON object alone: NautilusTrader's log, which writes there, goes to stderr from now on."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return out


def ended(reason: str, status: int) -> typer.Exit:
    typer.echo(f"error: {reason}", err=True)
    return typer.Exit(status)


if __name__ == "__main__":
    app()
