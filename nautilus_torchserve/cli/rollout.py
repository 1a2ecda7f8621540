"""Roll versions of a model out and back, without losing a request of the strategies that trade on them."""

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from nautilus_torchserve.cli.app import App, catch_interrupts, console, describe, echo, parsed, print_json
from nautilus_torchserve.cli.options import (
    REPORTS,
    TRUSTED,
    AnyModel,
    By,
    Challenger,
    DrainS,
    ForS,
    Json,
    ModelArgument,
    Reports,
    SliceS,
    Store,
    Trusted,
    VersionArgument,
    seconds,
)
from nautilus_torchserve.cli.target_options import GateOptions, ServerOptions, SwitchOptions
from nautilus_torchserve.experiments.canary.canary import CanarySettings
from nautilus_torchserve.experiments.canary.canary import canary as run_canary
from nautilus_torchserve.experiments.canary.gates import GateLimits
from nautilus_torchserve.experiments.lifecycle import end_abandoned
from nautilus_torchserve.experiments.shadow.shadow import ShadowSettings
from nautilus_torchserve.experiments.shadow.shadow import shadow as run_shadow
from nautilus_torchserve.files.state_file import DamagedState
from nautilus_torchserve.release.rollout import rollout
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import RolloutRefused, journaled_models
from nautilus_torchserve.release.rollout.prune import prune as prune_model
from nautilus_torchserve.release.rollout.repair import RepairFailed
from nautilus_torchserve.release.rollout.repair import repair as repair_all
from nautilus_torchserve.release.rollout.report import RolloutReport, check_report_folder, raise_if_not_ok, write_report
from nautilus_torchserve.release.rollout.status import ModelStatus, known_models, model_status
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.traffic.split import Unit
from nautilus_torchserve.traffic.store import DEFAULT_URL, SplitRefused, StoreFailed, TrafficStore, open_splits
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.names import check_version, is_model_name


def percent(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected percentages like 1,5,100, got {text!r}", param_hint="--steps") from None


app = App(help=__doc__, no_args_is_help=True)


@dataclass(frozen=True)
class ChangeOptions:
    """Options of the commands that change versions."""

    server: ServerOptions
    reports: Reports = REPORTS
    as_json: Json = False

    def carry_out(self, change: Callable[[Target], RolloutReport], urgent: bool = False) -> None:
        """Make the change, write and show its report, and exit.

        Exit status 3: the server is in the requested state, but not everything could be recorded.
        """
        target = self.server.target()
        if not urgent:
            check_report_folder(self.reports)
        catch_interrupts()
        report = change(target)
        for number in (signal.SIGINT, signal.SIGTERM):  # the report is shown in any case
            signal.signal(number, signal.SIG_IGN)
        path, unwritten = write_report(report, self.reports)
        if self.as_json:
            try:
                print_json({**report.as_dict(), "report": path and str(path), "unwritten": unwritten})
            except OSError as error:
                unwritten.append(f"the JSON could not be written to stdout: {describe(error)}")
        else:
            echo(report.as_text())
        raise_if_not_ok(report, unwritten)


@app.command()
def register(
    model: ModelArgument,
    archive: Annotated[Path, typer.Option(help="Archive (signed).")],
    trusted: Trusted = TRUSTED,
    candidate: Annotated[bool, typer.Option("--candidate", help="Load and gate it, but do not switch.")] = False,
    *,
    gates: GateOptions,
    options: ChangeOptions,
) -> None:
    """Verify, store, load and gate ARCHIVE beside the serving version; switch, observe, retire older versions."""
    limits = gates.limits()
    options.carry_out(lambda target: rollout.register(target, model, archive, trusted, limits, not candidate, echo))


@app.command()
def promote(model: ModelArgument, version: VersionArgument, gates: GateOptions, options: ChangeOptions) -> None:
    """Gate a registered version again and make it the default one."""
    options.carry_out(lambda target: rollout.promote(target, model, version, gates.limits(), echo))


@app.command()
def rollback(
    model: ModelArgument,
    to: Annotated[
        str | None,
        typer.Option(
            parser=parsed(check_version),
            metavar="VERSION",
            help="Version (to return to); default: the previous default version.",
        ),
    ] = None,
    *,
    options: ChangeOptions,
) -> None:
    """Make the previous default version the default again, at once."""
    options.carry_out(lambda target: rollout.rollback(target, model, to, echo), urgent=True)


@app.command()
def remove(model: ModelArgument, version: VersionArgument, drain: DrainS = None, *, options: ChangeOptions) -> None:
    """Drain and unregister a version that is not the default one."""
    limits = Limits(drain_s=drain)
    options.carry_out(lambda target: rollout.remove(target, model, version, limits, echo))


@app.command()
def prune(
    server: ServerOptions,
    model: AnyModel = None,
    older_than: Annotated[float, seconds("Minimum time since the version was rolled back.")] = "1h",  # type: ignore[assignment]
    drain: DrainS = None,
    store: Store = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Remove versions that were rolled back some time ago and are not in use; for cron."""
    target = server.target()
    catch_interrupts()
    pruned, refused = [], []
    with open_splits(store) as splits:
        for name in [model] if model else journaled_models(target.model_store):
            try:
                pruned.append(prune_model(target, name, older_than, splits, Limits(drain_s=drain), echo))
            except (RolloutRefused, DamagedState) as error:  # other models are pruned all the same
                refused.append(f"{error}")
    for result in pruned:
        for line in result.lines():
            echo(line)
    if as_json:
        print_json({"models": [asdict(result) for result in pruned], "refused": refused})
    failed = [line for result in pruned for line in result.failures()] + refused
    if failed:
        raise UserError("; ".join(failed))


@app.command()
def status(server: ServerOptions, model: AnyModel = None, store: Store = DEFAULT_URL, as_json: Json = False) -> None:
    """Show versions, workers, default, digests, traffic split and ghosts; exit status 1 where one needs repair."""
    target = server.target()
    store_error: StoreFailed | None = None
    names = [model] if model else known_models(target)
    try:
        with open_splits(store) as splits:
            models = [model_status(target, name, splits) for name in names]
    except StoreFailed as error:  # the server's part is shown all the same
        store_error, models = error, [model_status(target, name) for name in names]
    if as_json:
        print_json({"models": [asdict(status) for status in models]})
    else:
        with suppress(OSError):
            console.print(_table(models))
        for status in models:
            for text in filter(None, (status.under_way, status.left)):
                echo(f"{status.model}: {text}")
    if store_error is not None:
        raise store_error
    if any(status.left or any(version.ghost for version in status.versions) for status in models):
        raise UserError("expected no unfinished rollout and no ghost, got some: nautilus-torchserve rollout repair")


@app.command()
def repair(server: ServerOptions, store: Store = DEFAULT_URL, as_json: Json = False) -> None:
    """Recover from killed rollouts, canaries, workers or servers, and from damaged journals."""
    target = server.target()
    repaired: list[str] = []
    failed: list[str] = []

    def report_step(text: str) -> None:
        repaired.append(text)
        echo(text)

    try:
        repair_all(target, report_step)
    except RepairFailed as error:
        failed.append(f"{error}")
    try:
        with open_splits(store) as splits:
            for name in known_models(target):
                if splits is None or not is_model_name(name):
                    continue
                if (split := end_abandoned(target, splits, name)) is not None:
                    report_step(f"{split.model}: {split.name}, which no process watches any more, is {split.state}")
    except (StoreFailed, SplitRefused, RolloutRefused, DamagedState) as error:
        failed.append(f"{error}")
    if as_json:
        print_json({"mended": repaired, "failed": failed})
    elif not failed:
        echo(f"repaired: {len(repaired)}" if repaired else "nothing to repair")
    if failed:
        raise RepairFailed("; ".join(dict.fromkeys(failed)))


@app.command()
def canary(
    model: ModelArgument,
    to: Challenger,
    steps: Annotated[str, typer.Option(help="Traffic shares of the challenger (percent).")] = "1,5,25,100",
    hold: Annotated[float, seconds("How long each share is held.")] = "1m",  # type: ignore[assignment]
    by: By = Unit.INSTRUMENT,
    slice_: SliceS = "1h",  # type: ignore[assignment]
    least_calls: Annotated[int, typer.Option(help="Minimum number of challenger calls for a step to pass.")] = 100,
    psi: Annotated[float, typer.Option(help="Maximum population stability index (PSI) of an output.")] = GateLimits.psi,
    store: Store = DEFAULT_URL,
    *,
    switch: SwitchOptions,
    options: ChangeOptions,
) -> None:
    """Give a candidate a growing share of the strategies' traffic; withdraw it when a gate fails."""
    settings = CanarySettings(
        tuple(percent(share) / 100 for share in steps.split(",")),
        hold,
        least_calls,
        gates=GateLimits(psi=psi),
        unit=by,
        slice_ns=round(slice_ * 1e9),
        limits=switch.limits(),
    )
    with TrafficStore(store) as splits:
        options.carry_out(lambda target: run_canary(target, splits, model, to, settings, echo))


@app.command()
def shadow(
    server: ServerOptions,
    model: ModelArgument,
    to: Challenger,
    for_: ForS = "10m",  # type: ignore[assignment]
    answers: Annotated[int | None, typer.Option(help="Number of responses to end after; default: no limit.")] = None,
    share: Annotated[float, typer.Option(help="Share in percent (of the requests that are copied).")] = 100.0,
    store: Store = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Send a candidate copies of the strategies' requests, and compare its outputs with those traded on."""
    settings = ShadowSettings(for_, answers, share / 100)
    target = server.target()
    with TrafficStore(store) as splits:
        catch_interrupts()
        report = run_shadow(target, splits, model, to, settings, echo)
    if as_json:
        print_json(report.as_dict())
    else:
        echo(report.as_text())


def _table(models: list[ModelStatus]) -> Table:
    table = Table("model", "version", "default", "workers", "digest", "waiting", "traffic")
    for model in models:
        for version in model.versions:
            share: Any = ""
            if model.split is not None and version.version == model.split.challenger:
                share = f"{model.split.kind}: {model.split.share:.0%}"
            table.add_row(
                model.model,
                version.version,
                "yes" if version.default else "",
                ", ".join(version.workers) or "GHOST: none",
                version.digest[:12],
                str(version.waiting),
                share,
            )
    return table
