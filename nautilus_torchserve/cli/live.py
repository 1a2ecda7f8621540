"""Trade live as configured in a file: on recorded or a venue's data, on paper or, with --real, with real orders."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, TextIO

import typer

from nautilus_torchserve.cli.app import App, console, echo
from nautilus_torchserve.cli.options import Json, RequireSignature
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.live.node import announcement
from nautilus_torchserve.trading.live.run import run_live
from nautilus_torchserve.trading.live.run_summary import RunFailed
from nautilus_torchserve.trading.live.settings_file import load_settings

REAL_ONLY = "expected real execution with --real, got a sandbox: leave the flag out"
REAL_MISSING = "expected --real with real execution, got none: nothing was started"
app = App(help=__doc__)


@app.command()
def live(
    config: Annotated[Path, typer.Argument(help="TOML file; deploy/live/ has examples.")],
    real: Annotated[bool, typer.Option("--real", help="Send real orders, as the file says.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume although trading was halted today.")] = False,
    require_signature: RequireSignature = False,
    as_json: Json = False,
) -> None:
    """Trade until the end of the replay, Ctrl-C, the kill switch or a loss limit.

    Exit status: 0 done; 1 not started, failed or not flat at the end; 2 an invalid file; 3 after the kill
    switch or a loss limit; 4 ended without its model; 5 records are missing from the audit log.
    """
    settings = load_settings(config)
    if settings.is_real != real:
        raise BadSetting(f"{config}: {REAL_ONLY if real else REAL_MISSING}")
    console.print(announcement(settings))
    if settings.countdown_s:
        echo(f"starting in {settings.countdown_s:g} s; Ctrl-C keeps it from starting")
        time.sleep(settings.countdown_s)
    out = redirect_stdout()
    summary = run_live(settings, resume, echo)
    if as_json:
        out.write(json.dumps(summary) + "\n")
        out.flush()
    else:
        console.print_json(data=summary)
    if summary["failures"]:
        raise RunFailed(summary)
    if summary["exit_status"]:
        raise typer.Exit(summary["exit_status"])


def redirect_stdout() -> TextIO:
    """Return stdout for the JSON object alone; NautilusTrader's log, which writes there, goes to stderr from now on."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return out
