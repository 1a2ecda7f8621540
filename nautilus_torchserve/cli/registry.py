"""Which versions of a model there are and were, and which of them serves: MLflow's model registry, kept true."""

import json
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from nautilus_torchserve.cli.app import App, console, parsed, print_json, say
from nautilus_torchserve.cli.options import (
    REPORTS,
    RUNS,
    TRUSTED,
    AnyModel,
    Json,
    ModelArgument,
    Reports,
    Runs,
    Trusted,
    WatchS,
)
from nautilus_torchserve.cli.target_options import FindTarget, takes_server, takes_target
from nautilus_torchserve.registry.comparison import Comparison
from nautilus_torchserve.registry.record import ALIASES, RegisteredVersion
from nautilus_torchserve.registry.registry import Registry
from nautilus_torchserve.registry.transitions import differences, transition
from nautilus_torchserve.release.rollout.kept_report import check_reports, keep_report, raise_if_not_ok
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.release.rollout.report import Unrecorded
from nautilus_torchserve.release.rollout.status import ModelStatus, model_status
from nautilus_torchserve.release.rollout.target import NoTarget, Target
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.names import check_version

app = App(help=__doc__, no_args_is_help=True)
Unsigned = Annotated[bool, typer.Option("--allow-unsigned", help="Archives without any signature, too.")]
LIMITS = Limits()


@app.command()
def add(
    archive: Annotated[Path, typer.Argument(help="A signed .mar.")],
    run: Annotated[
        Path | None,
        typer.Option(help="Run folder: what it was built from, which links it to its training; default: none."),
    ] = None,
    runs: Runs = RUNS,
    trusted: Trusted = TRUSTED,
    allow_unsigned: Unsigned = False,
    as_json: Json = False,
) -> None:
    """Register an archive as a version of its model, with all that it says of itself, and keep a copy."""
    with console.status(escape(f"Registering {archive}")):
        added = Registry(runs, trusted, allow_unsigned).add(archive, run)
    version = added.version
    if as_json:
        print(json.dumps({"new": added.new, **version.as_dict()}))
    state = "registered" if added.new else f"was registered on {version.registered} already"
    say(
        f"{version.model} {version.version} {state}: digest {version.digest[:12]}, MLflow's number {version.number}, "
        f"signed by {version.signer or 'nobody'}"
    )


@app.command("list")
@takes_server
def list_versions(
    server: FindTarget,
    model: AnyModel = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Show what is registered, what the server really serves, and where that is something else."""
    target = running(server)
    registry = Registry(runs, TRUSTED)
    listed = {name: registry.versions(name) for name in ([model] if model else registry.models())}
    on_server = {name: model_status(target, name) for name in listed} if target else {}
    said = {name: differences(versions, on_server[name]) for name, versions in listed.items() if name in on_server}
    if as_json:
        models = {
            name: {
                "versions": [each.as_dict() for each in versions],
                "server": [asdict(each) for each in on_server[name].versions] if name in on_server else None,
                "differences": said.get(name),
            }
            for name, versions in listed.items()
        }
        print(json.dumps({"store": registry.store, "models": models}))
        return
    for name, versions in listed.items():
        console.print(versions_table(name, versions, on_server.get(name)))
        for line in said.get(name, ()):
            say(f"DIFFERS: {name}: {line}")
    if not any(listed.values()):
        say(f"{registry.store}: no version of {model or 'any model'} is registered")


@app.command()
def compare(
    model: ModelArgument,
    a: Annotated[str, typer.Argument(parser=parsed(check_version), help="A version or an alias.")],
    b: Annotated[str, typer.Argument(parser=parsed(check_version), help="Another one.")],
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Show two versions side by side."""
    registry = Registry(runs, TRUSTED)
    comparison = Comparison(registry.find(model, a), registry.find(model, b))
    if as_json:
        print(json.dumps(comparison.as_dict()))
        return
    table = Table(
        *(Column(name, overflow="fold") for name in (model, comparison.a.version, comparison.b.version, "difference"))
    )
    for row in comparison.rows():
        table.add_row(row.name, row.a, row.b, row.differs, style="" if row.differs else "dim")
    console.print(table)


@app.command()
@takes_target
def alias(
    target: Target,
    model: ModelArgument,
    version: Annotated[str, typer.Argument(parser=parsed(check_version), help="A version, or the alias it has.")],
    name: Annotated[str, typer.Argument(metavar="ALIAS", help=", ".join(ALIASES))],
    runs: Runs = RUNS,
    trusted: Trusted = TRUSTED,
    no_rollout: Annotated[bool, typer.Option("--no-rollout", help="Refuse unless the server is so already.")] = False,
    watch: WatchS = LIMITS.watch_s,
    reports: Reports = REPORTS,
    as_json: Json = False,
) -> None:
    """Make a version staging, production or archived: on the server first, past all gates, by name afterwards."""
    if name not in ALIASES:
        raise typer.BadParameter(f"one of {', '.join(ALIASES)} expected, was {name!r}")
    check_reports(reports)
    for each in (signal.SIGINT, signal.SIGTERM):  # a job in the background is started with SIGINT ignored
        signal.signal(each, signal.default_int_handler)
    done = transition(
        Registry(runs, trusted),
        target,
        model,
        version,
        name,
        trusted,
        Limits(watch_s=watch),
        say,
        roll_out=not no_rollout,
    )
    unwritten = [] if done.report is None else keep_report(done.report, reports)[1]
    if as_json:
        print_json({**done.as_dict(), "unwritten": unwritten})
    if not done.ok and done.report is not None and not done.report.done:
        raise UserError(f"{model} {version} is not {name}: {done.report.failed_at}: {done.report.reason}")
    if done.unlabelled is not None:
        raise Unrecorded(
            f"{model} {version} is {name} on the server, but the registry does not say so: "
            f"{done.unlabelled}; run this again"
        )
    if done.report is not None:
        raise_if_not_ok(done.report, unwritten)
    say(f"{model} {done.version.version} is {name}{'' if done.report else '; the server was so already'}")


@app.command()
def get(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(parser=parsed(check_version), help="A version or an alias.")],
    out: Annotated[Path, typer.Option(help="Output: the .mar.")],
    runs: Runs = RUNS,
    trusted: Trusted = TRUSTED,
    allow_unsigned: Unsigned = False,
    as_json: Json = False,
) -> None:
    """Write a registered archive to OUT, once its digest and its signature are found to be what they were."""
    registry = Registry(runs, trusted, allow_unsigned)
    found = registry.find(model, version)
    with console.status(escape(f"Fetching {model} {found.version}")):
        registry.fetch(found, out)
    if as_json:
        print(json.dumps({"path": str(out), **found.as_dict()}))
    say(f"{out}: {model} {found.version}, digest {found.digest[:12]}, signed by {found.signer or 'nobody'}")


def versions_table(model: str, versions: list[RegisteredVersion], on_server: ModelStatus | None) -> Table:
    there = {} if on_server is None else {each.version: each for each in on_server.versions}
    names = [model, "aliases", "registered", "digest", "metrics", *([] if on_server is None else ["server"])]
    table = Table(*(Column(name, overflow="fold") for name in names))
    for each in versions:
        metrics = "\n".join(f"{name} {value:.4g}" for name, value in each.main_metrics.items())
        row = [each.version, ", ".join(each.aliases), each.registered, each.digest[:12], metrics]
        if each.version in there:
            row.append("default" if there[each.version].default else "loaded")
        table.add_row(*row)
    return table


def running(server: FindTarget) -> Target | None:
    """The server, if it runs; said, where it does not."""
    try:
        return server()
    except NoTarget as error:
        say(f"only what is registered, without a server: {error}")
        return None
