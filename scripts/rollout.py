"""New versions of a model into service and back out, while strategies trade."""

import json
import re
import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.app import App, console, parsed, say
from release import rollout
from release.limits import Limits
from release.repair import repair as repair_all
from release.rollout_report import Report
from release.status import ModelStatus, known_models, model_status
from release.target import Target
from release.target_options import takes_target
from serving.torchserve import PROJECT
from strategies.durations import parse_duration
from traffic.split import Unit
from traffic.store import DEFAULT_URL, TrafficStore, is_there
from trials.canary import CanarySettings
from trials.canary import canary as run_canary
from trials.canary_gates import GateLimits
from trials.shadow import ShadowSettings
from trials.shadow import shadow as run_shadow
from trials.trial import end_abandoned
from wire.user_error import UserError


def seconds(given: str | float) -> float:
    """Of ``10s``, ``2m``, or a plain number of seconds."""
    plain = re.fullmatch(r"\d+(\.\d+)?", str(given))
    return float(given) if plain else parse_duration(str(given)) / 1e9


def percent(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected percentages like 1,5,100, got {text!r}", param_hint="--steps") from None


app = App(help=__doc__, no_args_is_help=True)
Model = Annotated[str, typer.Argument(help="The name that the model is asked under.")]
Version = Annotated[str, typer.Argument(help="A registered version.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Reports = Annotated[Path, typer.Option(help="Folder of the reports, as JSON and as text.")]
WatchS = Annotated[float, typer.Option(
    "--watch", parser=parsed(seconds), help="How long errors and latency are watched once it is the default version.")]
DrainS = Annotated[float | None, typer.Option(
    "--drain", parser=parsed(seconds),
    help="Time without a request before a version is unregistered; default: its timeout.")]
Store = Annotated[str, typer.Option(help="Database of the traffic splits, as SQLAlchemy names it.")]
Keep = Annotated[int, typer.Option(help="Earlier default versions that stay loaded for a rollback.")]
Ratio = Annotated[float, typer.Option(help="Median and p95 may be this many times the serving version's, and ...")]
AddMs = Annotated[float, typer.Option(help="... this many milliseconds more.")]
MostMs = Annotated[float | None, typer.Option(help="Most that the p95 may be, milliseconds.")]
REPORTS = PROJECT / "reports" / "rollouts"
_D = Limits()


@app.command()
@takes_target
def register(
    target: Target,
    model: Model,
    archive: Annotated[Path, typer.Option(help="A signed archive.")],
    trusted: Annotated[Path, typer.Option(help="Folder of public keys.")] = PROJECT / "trusted_keys",
    candidate: Annotated[bool, typer.Option("--candidate", help="Load and gate it, but do not switch.")] = False,
    watch: WatchS = _D.watch_s,
    drain: DrainS = _D.drain_s,
    keep: Keep = _D.keep,
    latency_ratio: Ratio = _D.latency_ratio,
    latency_add_ms: AddMs = _D.latency_add_ms,
    latency_most_ms: MostMs = _D.latency_most_ms,
    reports: Reports = REPORTS,
    as_json: Json = False,
) -> None:
    """Verify, store, load and gate ARCHIVE beside the version that serves; switch, watch, drain what is old."""
    limits = Limits(watch_s=watch, drain_s=drain, keep=keep, latency_ratio=latency_ratio, latency_add_ms=latency_add_ms,
                    latency_most_ms=latency_most_ms)
    _end(lambda: rollout.register(target, model, archive, trusted, limits, not candidate, say), reports, as_json)


@app.command()
@takes_target
def promote(
    target: Target,
    model: Model,
    version: Version,
    watch: WatchS = _D.watch_s,
    drain: DrainS = _D.drain_s,
    keep: Keep = _D.keep,
    latency_ratio: Ratio = _D.latency_ratio,
    latency_add_ms: AddMs = _D.latency_add_ms,
    reports: Reports = REPORTS,
    as_json: Json = False,
) -> None:
    """Gate a registered version again and make it the default one."""
    limits = Limits(watch_s=watch, drain_s=drain, keep=keep, latency_ratio=latency_ratio, latency_add_ms=latency_add_ms)
    _end(lambda: rollout.promote(target, model, version, limits, say), reports, as_json)


@app.command()
@takes_target
def rollback(
    target: Target,
    model: Model,
    to: Annotated[str | None, typer.Option(help="Which version; default: the default one before this one.")] = None,
    reports: Reports = REPORTS,
    as_json: Json = False,
) -> None:
    """Make the default version before this one the default again, at once."""
    _end(lambda: rollout.rollback(target, model, to, say), reports, as_json)


@app.command()
@takes_target
def remove(
    target: Target, model: Model, version: Version, drain: DrainS = None, reports: Reports = REPORTS,
    as_json: Json = False,
) -> None:
    """Drain and unregister a version that is not the default one."""
    _end(lambda: rollout.remove(target, model, version, Limits(drain_s=drain), say), reports, as_json)


@app.command()
@takes_target
def status(
    target: Target,
    model: Annotated[str | None, typer.Argument(help="Which model; default: all.")] = None,
    store: Store = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Versions, workers, default, digests, traffic split, ghosts; exit status 1 when something needs repair."""
    with TrafficStore(store) if is_there(store) else nullcontext() as splits:  # looking makes no database
        found = [model_status(target, name, splits) for name in ([model] if model else known_models(target))]
    if as_json:
        print(json.dumps({"models": [asdict(each) for each in found]}))
    else:
        console.print(_table(found))
        for each in found:
            for text in filter(None, (each.under_way, each.left)):
                say(f"{each.model}: {text}")
    if any(each.left or any(version.ghost for version in each.versions) for each in found):
        raise UserError("what was left needs a repair: python scripts/rollout.py repair")


@app.command()
@takes_target
def repair(target: Target, store: Store = DEFAULT_URL, as_json: Json = False) -> None:
    """Mend what rollouts, canaries, workers or a server that were killed have left."""
    mended = repair_all(target, say)
    with TrafficStore(store) if is_there(store) else nullcontext() as splits:
        ended = [end_abandoned(target, splits, model) for model in known_models(target)] if splits else []
    for split in filter(None, ended):
        mended.append(f"{split.model}: {split.name}, which nobody watched any more, is {split.state}")
        say(mended[-1])
    if as_json:
        print(json.dumps({"mended": mended}))
    else:
        say(f"mended: {len(mended)}" if mended else "all is well")


@app.command()
@takes_target
def canary(
    target: Target,
    model: Model,
    to: Annotated[str, typer.Option(help="The challenger: a candidate that is registered.")],
    steps: Annotated[str, typer.Option(help="Its shares, percent.")] = "1,5,25,100",
    hold: Annotated[float, typer.Option(parser=parsed(seconds), help="How long each share is held.")] = 60.0,
    by: Annotated[Unit, typer.Option(help="What keeps its version as a whole.")] = Unit.INSTRUMENT,
    slice_: Annotated[float, typer.Option("--slice", parser=parsed(seconds), help="Length of a time slice.")] = 3600.0,
    least_calls: Annotated[int, typer.Option(help="Calls of the challenger that each step needs.")] = 100,
    psi: Annotated[float, typer.Option(help="Most that an output's distribution may drift.")] = GateLimits.psi,
    watch: WatchS = _D.watch_s,
    drain: DrainS = _D.drain_s,
    store: Store = DEFAULT_URL,
    reports: Reports = REPORTS,
    as_json: Json = False,
) -> None:
    """Give a candidate a growing share of the strategies' traffic; it is taken back by itself when a gate breaks."""
    shares = tuple(percent(each) / 100 for each in steps.split(","))
    settings = CanarySettings(
        shares, hold, least_calls, gates=GateLimits(psi=psi), unit=by, slice_ns=round(slice_ * 1e9),
        limits=Limits(watch_s=watch, drain_s=drain),
    )
    with TrafficStore(store) as splits:
        _end(lambda: run_canary(target, splits, model, to, settings, say), reports, as_json)


@app.command()
@takes_target
def shadow(
    target: Target,
    model: Model,
    to: Annotated[str, typer.Option(help="The challenger: a candidate that is registered.")],
    for_: Annotated[float, typer.Option("--for", parser=parsed(seconds), help="How long.")] = 600.0,
    answers: Annotated[int | None, typer.Option(help="End earlier, after so many answers.")] = None,
    share: Annotated[float, typer.Option(help="Of the requests that are copied to it, percent.")] = 100.0,
    store: Store = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Give a candidate copies of the strategies' traffic, and compare its answers with those that were traded on."""
    settings = ShadowSettings(for_, answers, share / 100)
    with TrafficStore(store) as splits:
        _hear_interrupts()
        report = run_shadow(target, splits, model, to, settings, say)
    if as_json:
        print(json.dumps(report.as_dict()))
    else:
        say(report.as_text())


def _end(work: Callable[[], Report], reports: Path, as_json: bool) -> None:
    """Carry out, keep the report, show it, exit."""
    _hear_interrupts()
    report = work()
    path = report.write(reports)
    if as_json:
        print(json.dumps({**report.as_dict(), "report": str(path)}))
    else:
        say(report.as_text())
    if not report.ok:
        raise UserError(f"{report.failed_at}: {report.reason}")


def _hear_interrupts() -> None:
    """SIGTERM is undone like Ctrl-C; a job in the background is started with SIGINT ignored."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)


def _table(found: list[ModelStatus]) -> Table:
    table = Table("model", "version", "default", "workers", "digest", "waiting", "traffic")
    for model in found:
        for each in model.versions:
            share: Any = ""
            if model.split is not None and each.version == model.split.challenger:
                share = f"{model.split.kind}: {model.split.share:.0%}"
            table.add_row(
                model.model, each.version, "yes" if each.default else "", ", ".join(each.workers) or "GHOST: none",
                each.digest[:12], str(each.waiting), share,
            )
    return table


if __name__ == "__main__":
    app()
