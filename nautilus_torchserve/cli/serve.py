"""Start, restart, inspect and stop a TorchServe with the configuration of a bundle."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nautilus_torchserve.bundle import BUNDLE
from nautilus_torchserve.cli.app import App, console, echo, print_json, raise_on_signals
from nautilus_torchserve.cli.options import HOME, Home, Json
from nautilus_torchserve.release.rollout.journal import recorded_digests
from nautilus_torchserve.serving.client.archive_import import TRUSTED_VARIABLE
from nautilus_torchserve.serving.server.config import TRUSTED_KEYS
from nautilus_torchserve.serving.server.start_plan import ServerSettings
from nautilus_torchserve.serving.server.torchserve import (
    TorchServe,
    find_server,
    restart_server,
    start_server,
    stop_server,
)
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.names import check_model_name

app = App(help=__doc__, no_args_is_help=True)
Trusted = Annotated[
    Path | None,
    typer.Option(
        help=f"Folder of trusted public keys; archives must be signed by one of them; default: {TRUSTED_KEYS} of the "
        f"configuration, else {TRUSTED_VARIABLE} of the environment, else none are verified."
    ),
]


@app.command()
def start(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="NAME=ARCHIVE in the model store; default: the configuration's load_models, else tick=tick.mar."
        ),
    ] = None,
    model_store: Annotated[
        Path | None,
        typer.Option(help="Model store; default: the configuration's model_store, else archives."),
    ] = None,
    home: Home = HOME,
    config: Annotated[Path, typer.Option(help="Configuration file (TorchServe's config.properties).")] = BUNDLE
    / "config.properties",
    free_ports: Annotated[bool, typer.Option(help="Use free ports instead of the configured ones.")] = False,
    trusted: Trusted = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard the versions that rollouts left in HOME.")] = False,
    as_json: Json = False,
) -> None:
    """Start a server, and return when its workers are READY.

    Versions that rollouts left in HOME are served again, with the other settings of CONFIG.
    """
    settings = ServerSettings(
        _by_name(models) if models else None,
        None if model_store is None else model_store.resolve(),
        home.resolve(),
        config=config.resolve(),
        free_ports=free_ports,
        trusted=trusted,
        fresh=fresh,
        remembered=recorded_digests,
    )
    raise_on_signals()
    with console.status("Starting TorchServe"):
        server = start_server(settings)
    _show(server, server.management().model_names(), as_json)


@app.command()
def restart(home: Home = HOME, trusted: Trusted = None, as_json: Json = False) -> None:
    """Start again, on the same ports, what ran in HOME: with versions and default as the last rollout left them.

    What runs is stopped after all checks; where the new start fails all the same, it is started again.
    """
    raise_on_signals()
    with console.status("Starting TorchServe"):
        server = restart_server(home.resolve(), trusted=trusted, remembered=recorded_digests)
    _show(server, server.management().model_names(), as_json)


@app.command()
def status(home: Home = HOME, as_json: Json = False) -> None:
    """Show what runs; exit status 1 when nothing does."""
    server = find_server(home.resolve())
    if server is None:
        raise UserError(f"no server runs in {home}")
    models = server.management().model_names()
    _show(server, models, as_json)


@app.command()
def stop(home: Home = HOME, as_json: Json = False) -> None:
    """Stop what runs in HOME, server and workers; exit status 1 when nothing does."""
    if not stop_server(home.resolve()):
        raise UserError(f"no server runs in {home}")
    if as_json:
        print_json({"stopped": str(home)})
    echo(f"stopped the server in {home}")


def _by_name(models: list[str]) -> dict[str, str]:
    """Return NAME=ARCHIVE arguments as a mapping."""
    by_name = {}
    for model in models:
        name, equals, archive = model.partition("=")
        if not (equals and archive):
            raise typer.BadParameter(f"expected NAME=ARCHIVE, got {model!r:.200}", param_hint="MODELS")
        if check_model_name(name) in by_name:
            raise typer.BadParameter(f"expected every name once, got {name!r} twice", param_hint="MODELS")
        by_name[name] = archive
    return by_name


def _show(server: TorchServe, models: list[str], as_json: bool) -> None:
    manager = server.management()
    versions: list[dict[str, Any]] = [
        {"model": name, "version": status["modelVersion"], "workers": [w["status"] for w in status["workers"]]}
        for name in models
        for status in manager.describe(name, "all")
    ]
    document = {
        "pid": server.pid,
        "home": str(server.home),
        "inference": server.inference_url,
        "management": server.management_url,
        "metrics": server.metrics_url,
        "models": versions,
        "trusted": server.properties.get(TRUSTED_KEYS),
    }
    if as_json:
        print_json(document)
        return
    echo(f"TorchServe {server.pid}: predictions {server.inference_url}, management {server.management_url}")
    for version in versions:
        echo(f"  {version['model']} {version['version']}: workers {', '.join(version['workers']) or 'none'}")
    trusted = server.properties.get(TRUSTED_KEYS)
    echo(
        f"  archives were verified by the keys in {trusted}"
        if trusted
        else f"  archives were not verified: --trusted DIR, or {TRUSTED_KEYS} in the configuration, does that"
    )
