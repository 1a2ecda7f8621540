"""Attack a server, a client and state files with what is malformed, broken or killed; count what is harmed.

Each case follows from a seed and its index: a failure names the command that repeats it alone.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.machine import describe_machine
from fault_injection.answers import attack_answers
from fault_injection.grammar import KINDS
from fault_injection.kills import attack_by_kills
from fault_injection.requests import Plan, attack_requests, show_cases
from fault_injection.samples import Subject, read_subject
from fault_injection.servers import BATCHED, MODEL, own_server, running_server, train_archive
from fault_injection.state_files import attack_state_files, make_template
from fault_injection.swaps import attack_by_swaps
from fault_injection.verdict import Findings, as_table, describe_failures
from nautilus_torchserve.cli.app import App, console, echo, print_json
from nautilus_torchserve.cli.options import Json, seed_option
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.user_error import UserError

app = App(help=__doc__, no_args_is_help=True)
Count = Annotated[int, typer.Option(min=0, help="Number of cases.")]
TimeLimit = Annotated[float, typer.Option(help="Time limit of a part (s), after which no case begins.")]
Index = Annotated[str, typer.Option(help="Cases to run, such as 7 or 7,12,80; default: all.")]


@dataclass(frozen=True)
class AttackOptions:
    """Options of every part."""

    seed: Annotated[int, seed_option("cases")] = 1
    archive: Annotated[Path | None, typer.Option(help="Tick archive; default: one is trained.")] = None
    as_json: Json = False

    @contextmanager
    def folder(self) -> Iterator[tuple[Path, Path]]:
        """Yield a temporary folder and the archive."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and folders go then, too
        with TemporaryDirectory(prefix="attack-") as name:
            yield Path(name), self.archive or train_archive(Path(name))


class HarmDone(UserError):
    """A count that must be zero is not."""


@app.command()
def requests(
    options: AttackOptions,
    count: Count = 100_000,
    time_limit: TimeLimit = 600.0,
    index: Index = "",
    kind: Annotated[str | None, typer.Option(help="Kind of malformed requests; default: all kinds.")] = None,
    home: Annotated[Path | None, typer.Option(help="Home of a running server; default: one is started.")] = None,
    model: Annotated[str, typer.Option(help="Model (registered name).")] = MODEL,
) -> None:
    """Send malformed requests among good ones; each good one must get exactly the model's bits."""
    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"expected one of {', '.join(KINDS)}, got {kind!r}", param_hint="--kind")
    plan = Plan(options.seed, count, time_limit, kind, indexes(index))
    if home is None:
        with options.folder() as (folder, tick):
            findings = _requests(folder, tick, plan)
    else:
        with running_server(home.resolve(), model) as (server, archive, batched):
            findings = _send(plan, server, read_subject(archive, model, batched, plan.seed))
    _end([findings], options)


@app.command()
def answers(
    options: AttackOptions,
    count: Count = 1000,
    time_limit: TimeLimit = 300.0,
    index: Index = "",
    live_runs: Annotated[
        int, typer.Option(min=0, help="Number of live replays against a server that answers only garbage.")
    ] = 2,
) -> None:
    """Answer a client and a live run wrongly; only errors or the model's bits may come of it, and no order."""
    with options.folder() as (_, tick):
        _end([attack_answers(tick, options.seed, count, time_limit, indexes(index), live_runs)], options)


@app.command()
def state_files(options: AttackOptions, count: Count = 200, time_limit: TimeLimit = 600.0, index: Index = "") -> None:
    """Damage state files; commands that read them must end in a sentence, and a repair must work."""
    with options.folder() as (folder, tick):
        _end([_state_files(folder, tick, options.seed, count, time_limit, index)], options)


@app.command()
def kills(options: AttackOptions, count: Count = 50, time_limit: TimeLimit = 900.0, index: Index = "") -> None:
    """Kill workers, Java, rollouts, live runs and starts; what comes next must work."""
    with options.folder() as (folder, tick):
        _end([_kills(folder, tick, options.seed, count, time_limit, index)], options)


@app.command()
def swaps(options: AttackOptions, count: Count = 10, time_limit: TimeLimit = 300.0) -> None:
    """Swap versions under load; no request may be lost."""
    with options.folder() as (folder, tick):
        _end([_swaps(folder, tick, options.seed, count, time_limit)], options)


@app.command("all")
def all_parts(
    options: AttackOptions,
    scale: Annotated[float, typer.Option(help="Multiple of the usual counts.")] = 1.0,
    time_limit: TimeLimit = 900.0,
) -> None:
    """Run all parts, each with its usual count: 100,000 requests, 1,000 answers, 200 files, 50 kills, 10 swaps."""
    seed = options.seed
    with options.folder() as (folder, tick):

        def many(count: int) -> int:
            return max(1, round(count * scale))

        parts: list[Callable[[], Findings]] = [
            lambda: _state_files(folder / "s", tick, seed, many(200), time_limit, ""),
            lambda: _kills(folder / "k", tick, seed, many(50), time_limit, ""),
            lambda: _swaps(folder / "w", tick, seed, many(10), time_limit),
            lambda: _requests(folder / "r", tick, Plan(seed, many(100_000), time_limit)),
            lambda: attack_answers(tick, seed, many(1000), time_limit),
        ]
        findings = []
        for part in parts:
            findings.append(part())
            echo(f"{findings[-1].part}: {'nothing harmed' if findings[-1].ok else 'HARMED'}")
        _end(findings, options)


def indexes(text: str) -> tuple[int, ...]:
    """Return the indexes of the cases that an option names."""
    try:
        return tuple(int(index) for index in text.split(",") if index)
    except ValueError:
        raise typer.BadParameter(f"expected indexes like 7,12,80, got {text[:80]!r}", param_hint="--index") from None


def _requests(folder: Path, archive: Path, plan: Plan) -> Findings:
    with own_server(archive, folder / "server", batched=True) as server:
        return _send(plan, server, read_subject(archive, MODEL, BATCHED, plan.seed))


def _send(plan: Plan, server: TorchServe, subject: Subject) -> Findings:
    if plan.indexes:
        for line in show_cases(server, subject, plan):
            echo(line)
    return attack_requests(server, subject, plan)


def _state_files(folder: Path, archive: Path, seed: int, count: int, time_limit_s: float, index: str) -> Findings:
    with own_server(archive, folder / "server") as server:
        template = make_template(server, folder / "server")
        return attack_state_files(template, seed, count, time_limit_s, indexes(index))


def _kills(folder: Path, archive: Path, seed: int, count: int, time_limit_s: float, index: str) -> Findings:
    with own_server(archive, folder / "server") as server:
        return attack_by_kills(server, archive, folder / "server", seed, count, time_limit_s, indexes(index))


def _swaps(folder: Path, archive: Path, seed: int, count: int, time_limit_s: float) -> Findings:
    with own_server(archive, folder / "server") as server:
        return attack_by_swaps(server, archive, folder / "server", seed, count, time_limit_s)


def _end(parts: list[Findings], options: AttackOptions) -> None:
    """Show the counts and the failures; raise `HarmDone` where something was harmed."""
    for findings in parts:
        for line in describe_failures(findings):
            echo(line)
    console.print(as_table(parts))
    if options.as_json:
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        header = {"ok": all(findings.ok for findings in parts), "seed": options.seed, "machine": describe_machine()}
        print_json({**header, "ended": ended, "parts": [findings.as_dict() for findings in parts]})
    harmed = [f"{name}: {part.counts[name]:g}" for part in parts for name in part.must_be_zero if part.counts[name]]
    if harmed:
        raise HarmDone(f"expected zero, got {', '.join(harmed)}")


if __name__ == "__main__":
    sys.exit(app())
