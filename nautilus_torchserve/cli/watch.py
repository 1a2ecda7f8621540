"""Roll out archives as they appear in a folder, for teams without CI."""

import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from nautilus_torchserve.cli.app import App, echo, print_json
from nautilus_torchserve.cli.options import TRUSTED, Json, Store, Trusted, seconds
from nautilus_torchserve.cli.target_options import GateOptions, ServerOptions
from nautilus_torchserve.release.watch.watch import WatchSettings, watch
from nautilus_torchserve.traffic.store import DEFAULT_URL
from nautilus_torchserve.user_error import UserError

app = App(no_args_is_help=True)


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(help="Folder to watch; done/ and refused/ are made in it.")],
    trusted: Trusted = TRUSTED,
    interval: Annotated[
        float, seconds("Polling interval, during which an archive must not change; at least 50ms.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Exit when all archives in the folder are rolled out.")] = False,
    unload_after: Annotated[
        float | None, seconds("Time after which a rolled-back version is removed; default: never.")
    ] = None,
    store: Store = DEFAULT_URL,
    *,
    gates: GateOptions,
    server: ServerOptions,
    as_json: Json = False,
) -> None:
    """Roll out every .mar that appears in FOLDER, until Ctrl-C or SIGTERM; each gets a report beside it.

    Copy under another name and rename, or just copy: an archive is rolled out when it is complete. With --once the
    exit status is 1 where one was refused or left.
    """
    if interval < 0.05:
        raise typer.BadParameter(f"expected at least 50ms, got {interval:g} s", param_hint="--interval")
    server.target()  # wrong options, and a server that does not run, are reported at once
    settings = WatchSettings(
        folder, server.target, trusted, gates.limits(), interval, unload_after_s=unload_after, splits=store
    )
    archives = watch(settings, _stop_on_signals(), echo, once)
    if as_json:
        print_json({"archives": [asdict(archive) for archive in archives]})
    not_done = [archive for archive in archives if archive.outcome != "done"]
    if once and not_done:
        raise UserError(f"{len(not_done)} of {len(archives)} archives were not rolled out")


def _stop_on_signals() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set; they also interrupt a rollout under way."""
    stopped = threading.Event()

    def stop(*_: object) -> NoReturn:
        stopped.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return stopped
