"""Measure our TorchServe against TorchServe as it comes, FastAPI and no server at all; or record its latencies."""

import json
import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.arrivals import parse_arrivals
from benchmarks.comparison import Plan, compare
from benchmarks.load import find_generator
from benchmarks.machine import describe_machine
from benchmarks.news import compare_news
from benchmarks.recording import ServedModel, lines, own_server, record, served_workers
from benchmarks.report import Report
from nautilus_torchserve.cli.app import App
from nautilus_torchserve.cli.options import Json, Model, RunFolder, TokenFile, Version
from nautilus_torchserve.inference.model_files import read_description
from nautilus_torchserve.latency.profile import LatencyProfile, save_profile
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.user_error import InvalidArgument

app = App()
messages = Console(stderr=True)
_TOKEN = "TORCHSERVE_TOKEN"


@app.command()
def bench(
    run: RunFolder = Path("runs/tick"),
    archive: Annotated[
        Path | None, typer.Option(help="Archive (of the tick model); default: built from --run.")
    ] = None,
    price_run: Annotated[
        Path | None, typer.Option(help="Run folder of the price model, to measure it too; default: not measured.")
    ] = None,
    ensemble_run: Annotated[
        Path | None,
        typer.Option(help="Run folder of an ensemble, to measure sentences and ensembles; default: not measured."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds (of one load, or of the recording); default: 2, or 20.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds (the median counts).")] = 3,
    quick: Annotated[bool, typer.Option(help="A single cold round of 0.3 s, as a smoke test.")] = False,
    profile: Annotated[
        Path | None,
        typer.Option("--record", help="Record the latencies of one model in this file; default: compare servers."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Inference URL (of the server to record); default: a server is started.")
    ] = None,
    model: Model = "tick",
    version: Version = None,
    token_file: TokenFile = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of workers of the model at --url; default: from the server."),
    ] = None,
    arrivals: Annotated[
        str, typer.Option(help="Arrival times: those of a CSV of trades or a catalog, or poisson:RATE per second.")
    ] = "poisson:50",
    speed: Annotated[float, typer.Option(help="Speed of the replayed arrivals, as a multiple.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Measure and report; exit status 1 when a measurement failed, 0 also when a target is missed.

    With --record: send rows to a real server at the times of --arrivals, each whether or not the one before was
    answered, so that a server that stalls still gets requests, and what waits is counted (no coordinated omission), and
    write the service times for `backtest --latency-profile`.
    """
    if url is not None and profile is None:
        raise typer.BadParameter(
            "expected --record beside --url, got --url alone: only a recording uses a running server"
        )
    if url is None and archive is None and not run.is_dir():
        _raise_missing_run(run, "tick")
    if price_run is not None and not price_run.is_dir():
        _raise_missing_run(price_run, "price")
    if ensemble_run is not None and not ensemble_run.is_dir():
        _raise_missing_run(ensemble_run, "ensemble")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped then too
    if profile is not None:
        schedule = parse_arrivals(arrivals, seconds or 20.0, speed)
        server = (
            own_server(run, archive) if url is None else nullcontext(_named(url, model, version, token_file, workers))
        )
        with server as target:
            recorded = record(target, schedule)
        save_profile(recorded, profile)
        _show_profile(recorded, profile, as_json)
        return
    plan = Plan(0.3, 1, warm_up=False) if quick else Plan(seconds or 2.0, rounds)
    generator = find_generator()
    machine: dict[str, Any] = {**describe_machine(), "generator": generator.name}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Progress(*columns, console=messages) as progress,
    ):
        task = progress.add_task("building the archive", total=plan.steps(price_run is not None))
        if ensemble_run is not None:
            progress.update(task, total=plan.steps(price_run is not None) + 1 + plan.rounds)
        work = Path(folder)
        tick = (archive or build_archive("tick", run, "1.0", work / "archives").path).resolve()
        price, network = None, None
        if price_run is not None:
            network = read_description(price_run)["network"]
            price = build_archive("price", price_run, "1.0", work / "archives").path.resolve()

        def step(doing: str) -> None:
            progress.update(task, advance=1, description=doing)

        cells = compare(tick, price, generator, plan, work, step)
        news = [] if ensemble_run is None else compare_news(ensemble_run, plan, work, step)
    report = Report(machine, plan, network, cells, news)
    if as_json:
        print(json.dumps(report.as_dict()))
    report.show(messages if as_json else Console())


def _named(url: str, model: str, version: str | None, token_file: Path | None, workers: int | None) -> ServedModel:
    provide_token(_TOKEN, url, token_file)
    workers = served_workers(url, model, version) if workers is None else workers
    if workers is None:
        raise BadSetting(f"expected --workers for a server that was not started from here, got none for {url}")
    return ServedModel(url, model, version, os.environ.get(_TOKEN), workers)


def _show_profile(recorded: LatencyProfile, path: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"profile": str(path), "workers": recorded.workers, **recorded.about}))
    else:
        table = Table(title=str(path), show_header=False)
        for label, value in lines(recorded):
            table.add_row(label, value)
        messages.print(table)


def _raise_missing_run(run: Path, model: str) -> NoReturn:
    raise InvalidArgument(f"{run}: expected a run folder, got none: nautilus-torchserve train {model} --out {run}")
