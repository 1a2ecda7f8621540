"""Measure our TorchServe against TorchServe as it comes, FastAPI and no server at all."""

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.comparison import Plan, compare
from benchmarks.load import LoadFailed, find_generator
from benchmarks.machine import describe_machine
from benchmarks.news import compare_news
from benchmarks.questions import WrongAnswer
from benchmarks.report import Report
from benchmarks.servers import ServerFailed
from handlers.model_files import BadArchive, read_description
from release.archive import BuildFailed, build_archive
from serving.archive_import import UnreadableArchive
from serving.java import NoJava
from serving.management import ManagementError
from serving.torchserve import StartFailed

words = Console(stderr=True)
_FAILURES = (
    BadArchive, BuildFailed, UnreadableArchive, NoJava, StartFailed, ManagementError, ServerFailed, WrongAnswer,
    LoadFailed,
)


def bench(
    run: Annotated[Path, typer.Option(help="Training run to build the archive from.")] = Path("runs/tick"),
    archive: Annotated[Path | None, typer.Option(help="A tick.mar to measure instead.")] = None,
    price_run: Annotated[
        Path | None, typer.Option(help="Training run of a price model to measure too; without it, ticks only.")
    ] = None,
    ensemble_run: Annotated[
        Path | None, typer.Option(help="Run of an ensemble, to measure sentences and ensembles too.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of one load.")] = 2.0,
    rounds: Annotated[int, typer.Option(min=1, help="Loads of each cell; the median counts.")] = 3,
    quick: Annotated[bool, typer.Option(help="One cold round of 0.3 s: whether it runs, not how fast.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure and report; exit status 1 when a measurement failed, 0 also when a target is missed."""
    if archive is None and not run.is_dir():
        _refuse(run, "tick")
    if price_run is not None and not price_run.is_dir():
        _refuse(price_run, "price")
    if ensemble_run is not None and not ensemble_run.is_dir():
        _refuse(ensemble_run, "ensemble")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped then too
    plan = Plan(0.3, 1, warm_up=False) if quick else Plan(seconds, rounds)
    generator = find_generator()
    machine: dict[str, Any] = {**describe_machine(), "generator": generator.name}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, Progress(*columns, console=words) as progress:
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
    except _FAILURES as error:
        words.print(f"[red]bench:[/] {error}", soft_wrap=True, markup=True)
        raise typer.Exit(1) from error
    report = Report(machine, plan, network, cells, news)
    if as_json:
        print(json.dumps(report.as_dict()))
    report.show(words if as_json else Console())


def _refuse(run: Path, model: str) -> NoReturn:
    words.print(
        f"{run}: a run folder expected, was missing: python scripts/train.py {model} --out {run}", soft_wrap=True
    )
    raise typer.Exit(2)


if __name__ == "__main__":
    typer.run(bench)
