"""Register released versions in MLflow's model registry, and keep it in step with a server."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from nautilus_torchserve.cli.app import App, catch_interrupts, console, echo, parsed, print_json
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
from nautilus_torchserve.cli.target_options import ServerOptions
from nautilus_torchserve.registry.comparison import Comparison
from nautilus_torchserve.registry.record import ALIASES, RegisteredVersion
from nautilus_torchserve.registry.registry import Registry
from nautilus_torchserve.registry.transitions import differences, transition
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.report import Unrecorded, check_report_folder, raise_if_not_ok, write_report
from nautilus_torchserve.release.rollout.status import ModelStatus, model_status
from nautilus_torchserve.release.rollout.target import NoTarget, Target
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.names import check_version

app = App(help=__doc__, no_args_is_help=True)
Unsigned = Annotated[bool, typer.Option("--allow-unsigned", help="Also accept unsigned archives.")]


@app.command()
def add(
    archive: Annotated[Path, typer.Argument(help="A signed .mar.")],
    run: Annotated[
        Path | None,
        typer.Option(help="Run folder (of the archive, to link its training run); default: none."),
    ] = None,
    runs: Runs = RUNS,
    trusted: Trusted = TRUSTED,
    allow_unsigned: Unsigned = False,
    as_json: Json = False,
) -> None:
    """Register an archive as a version of its model, with its description, and store a copy."""
    with console.status(escape(f"Registering {archive}")):
        added = Registry(runs, trusted, allow_unsigned).add(archive, run)
    version = added.version
    if as_json:
        print_json({"new": added.new, **version.as_dict()})
    state = "registered" if added.new else f"was registered on {version.registered} already"
    echo(
        f"{version.model} {version.version} {state}: digest {version.digest[:12]}, MLflow's number {version.number}, "
        f"signed by {version.signer or 'no key'}"
    )


@app.command("list")
def list_versions(model: AnyModel = None, runs: Runs = RUNS, *, server: ServerOptions, as_json: Json = False) -> None:
    """Show the registered versions, what the server serves, and where they differ."""
    target = running(server)
    registry = Registry(runs, TRUSTED)
    listed = {name: registry.versions(name) for name in ([model] if model else registry.models())}
    on_server = {name: model_status(target, name) for name in listed} if target else {}
    differing = {name: differences(versions, on_server[name]) for name, versions in listed.items() if name in on_server}
    if as_json:
        models = {
            name: {
                "versions": [version.as_dict() for version in versions],
                "server": [asdict(version) for version in on_server[name].versions] if name in on_server else None,
                "differences": differing.get(name),
            }
            for name, versions in listed.items()
        }
        print_json({"store": registry.store, "models": models})
        return
    for name, versions in listed.items():
        console.print(versions_table(name, versions, on_server.get(name)))
        for line in differing.get(name, ()):
            echo(f"DIFFERS: {name}: {line}")
    if not any(listed.values()):
        echo(f"{registry.store}: no version of {model or 'any model'} is registered")


@app.command()
def compare(
    model: ModelArgument,
    a: Annotated[str, typer.Argument(parser=parsed(check_version), help="A version or an alias.")],
    b: Annotated[str, typer.Argument(parser=parsed(check_version), help="Another version or alias.")],
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Show two versions side by side."""
    registry = Registry(runs, TRUSTED)
    comparison = Comparison(registry.find(model, a), registry.find(model, b))
    if as_json:
        print_json(comparison.as_dict())
        return
    table = Table(
        *(Column(name, overflow="fold") for name in (model, comparison.a.version, comparison.b.version, "difference"))
    )
    for row in comparison.rows():
        table.add_row(row.name, row.a, row.b, row.differs, style="" if row.differs else "dim")
    console.print(table)


@app.command()
def alias(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(parser=parsed(check_version), help="A version, or its alias.")],
    name: Annotated[str, typer.Argument(metavar="ALIAS", help=", ".join(ALIASES))],
    runs: Runs = RUNS,
    trusted: Trusted = TRUSTED,
    no_rollout: Annotated[bool, typer.Option("--no-rollout", help="Fail if the server needs a rollout.")] = False,
    watch: WatchS = Limits.watch_s,
    reports: Reports = REPORTS,
    *,
    server: ServerOptions,
    as_json: Json = False,
) -> None:
    """Make a version staging, production or archived: on the server first, with all gates, then by alias."""
    if name not in ALIASES:
        raise typer.BadParameter(f"expected one of {', '.join(ALIASES)}, got {name!r}")
    check_report_folder(reports)
    target = server.target()
    catch_interrupts()
    limits, roll_out = Limits(watch_s=watch), not no_rollout
    result = transition(Registry(runs, trusted), target, model, version, name, trusted, limits, echo, roll_out=roll_out)
    unwritten = [] if result.report is None else write_report(result.report, reports)[1]
    if as_json:
        print_json({**result.as_dict(), "unwritten": unwritten})
    if not result.ok and result.report is not None and not result.report.done:
        raise UserError(f"{model} {version} is not {name}: {result.report.failed_at}: {result.report.reason}")
    if result.unlabelled is not None:
        raise Unrecorded(
            f"{model} {version} is {name} on the server, but not in the registry: {result.unlabelled}; run this again"
        )
    if result.report is not None:
        raise_if_not_ok(result.report, unwritten)
    echo(f"{model} {result.version.version} is {name}{'' if result.report else '; the server needed no change'}")


@app.command()
def get(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(parser=parsed(check_version), help="A version or an alias.")],
    out: Annotated[Path, typer.Option(help="Output (.mar file).")],
    runs: Runs = RUNS,
    trusted: Trusted = TRUSTED,
    allow_unsigned: Unsigned = False,
    as_json: Json = False,
) -> None:
    """Write a registered archive to OUT, once its digest and its signature are verified."""
    registry = Registry(runs, trusted, allow_unsigned)
    registered = registry.find(model, version)
    with console.status(escape(f"Fetching {model} {registered.version}")):
        registry.fetch(registered, out)
    if as_json:
        print_json({"path": str(out), **registered.as_dict()})
    digest, signer = registered.digest[:12], registered.signer or "no key"
    echo(f"{out}: {model} {registered.version}, digest {digest}, signed by {signer}")


def versions_table(model: str, versions: list[RegisteredVersion], on_server: ModelStatus | None) -> Table:
    served = {} if on_server is None else {version.version: version for version in on_server.versions}
    names = [model, "aliases", "registered", "digest", "metrics", *([] if on_server is None else ["server"])]
    table = Table(*(Column(name, overflow="fold") for name in names))
    for version in versions:
        metrics = "\n".join(f"{name} {value:.4g}" for name, value in version.main_metrics.items())
        row = [version.version, ", ".join(version.aliases), version.registered, version.digest[:12], metrics]
        if version.version in served:
            row.append("default" if served[version.version].default else "loaded")
        table.add_row(*row)
    return table


def running(server: ServerOptions) -> Target | None:
    """Return the server if it runs; report where it does not."""
    try:
        return server.target()
    except NoTarget as error:
        echo(f"registered versions only, without a server: {error}")
        return None
