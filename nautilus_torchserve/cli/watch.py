"""Roll out archives as they appear in a folder, for teams without CI."""

import json
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from nautilus_torchserve.cli.app import App, echo
from nautilus_torchserve.cli.options import (
    TRUSTED,
    DrainS,
    Json,
    Keep,
    LatencyAddMs,
    LatencyMostMs,
    LatencyRatio,
    Store,
    Trusted,
    WatchS,
    seconds,
)
from nautilus_torchserve.cli.target_options import FindTarget, takes_server
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.watch.watch import WatchSettings, watch
from nautilus_torchserve.traffic.store import DEFAULT_URL
from nautilus_torchserve.user_error import UserError

app = App(no_args_is_help=True)
_D = Limits()


@app.command()
@takes_server
def main(
    server: FindTarget,
    folder: Annotated[Path, typer.Argument(help="Folder that archives appear in, with done/ and refused/.")],
    trusted: Trusted = TRUSTED,
    interval: Annotated[
        float, seconds("Time between two looks, and for which an archive must be unchanged: at least 50ms.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="End when the archives that are there are rolled out.")] = False,
    watch_s: WatchS = _D.watch_s,
    drain_s: DrainS = _D.drain_s,
    keep: Keep = _D.keep,
    latency_ratio: LatencyRatio = _D.latency_ratio,
    latency_add_ms: LatencyAddMs = _D.latency_add_ms,
    latency_most_ms: LatencyMostMs = _D.latency_most_ms,
    unload_after: Annotated[
        float | None, seconds("Time after which a version rolled back from is removed; default: never.")
    ] = None,
    store: Store = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Roll out every .mar that appears in FOLDER, until Ctrl-C or SIGTERM; each gets a report beside it.

    Copy under another name and rename, or just copy: an archive is rolled out when it is complete. With --once the
    exit status is 1 where one was refused or left.
    """
    if interval < 0.05:
        raise typer.BadParameter(f"expected at least 50ms, got {interval:g} s", param_hint="--interval")
    limits = Limits(
        watch_s=watch_s,
        drain_s=drain_s,
        keep=keep,
        latency_ratio=latency_ratio,
        latency_add_ms=latency_add_ms,
        latency_most_ms=latency_most_ms,
    )
    settings = WatchSettings(folder, server, trusted, limits, interval, unload_after_s=unload_after, splits=store)
    server()  # wrong options, and a server that does not run, are reported at once
    archives = watch(settings, _stop_on_signals(), echo, once)
    if as_json:
        print(json.dumps({"archives": [asdict(archive) for archive in archives]}, default=str))
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
