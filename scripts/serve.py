"""Start, look at and stop a TorchServe with this repository's configuration."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.app import App, console, say
from serving.torchserve import (
    PROJECT,
    ServerSettings,
    TorchServe,
    find_server,
    restart_server,
    start_server,
)
from wire.user_error import UserError

app = App(help=__doc__, no_args_is_help=True)
Home = Annotated[Path, typer.Option(help="The server's working directory: keys, logs, state.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
HOME = PROJECT / ".server"


@app.command()
def start(
    models: Annotated[list[str] | None, typer.Argument(
        help="NAME=ARCHIVE in the model store; default: the configuration's load_models, else tick=tick.mar.")] = None,
    model_store: Annotated[Path | None, typer.Option(
        help="Folder of the archives; default: the configuration's model_store, else archives.")] = None,
    home: Home = HOME,
    config: Annotated[Path, typer.Option(help="TorchServe's configuration.")] = PROJECT / "config.properties",
    free_ports: Annotated[bool, typer.Option(help="Take free ports instead of the configured ones.")] = False,
    as_json: Json = False,
) -> None:
    """Start a server and return when its workers are READY."""
    settings = ServerSettings(
        dict(model.partition("=")[::2] for model in models) if models else None,
        None if model_store is None else model_store.resolve(),
        home.resolve(), config=config.resolve(), free_ports=free_ports,
    )
    with console.status("Starting TorchServe"):
        server = start_server(settings)
    _show(server, server.management().model_names(), as_json)


@app.command()
def restart(home: Home = HOME, as_json: Json = False) -> None:
    """Start again, on the same ports, what ran in HOME: with versions and default as the last rollout left them."""
    with console.status("Starting TorchServe"):
        server = restart_server(home.resolve())
    _show(server, server.management().model_names(), as_json)


@app.command()
def status(home: Home = HOME, as_json: Json = False) -> None:
    """Say what runs; exit status 1 when nothing does."""
    server = find_server(home.resolve())
    if server is None:
        raise UserError(f"no server runs in {home}")
    models = server.management().model_names()
    _show(server, models, as_json)


@app.command()
def stop(home: Home = HOME) -> None:
    """Stop the server and its workers; exit status 1 when none runs."""
    server = find_server(home.resolve())
    if server is None:
        raise UserError(f"no server runs in {home}")
    server.stop()
    say(f"stopped the server in {home}")


def _show(server: TorchServe, models: list[str], as_json: bool) -> None:
    manager = server.management()
    versions: list[dict[str, Any]] = [
        {"model": name, "version": each["modelVersion"], "workers": [w["status"] for w in each["workers"]]}
        for name in models
        for each in manager.describe(name, "all")
    ]
    found = {"pid": server.pid, "home": str(server.home), "inference": server.inference_url,
             "management": server.management_url, "metrics": server.metrics_url, "models": versions}
    if as_json:
        print(json.dumps(found))
        return
    say(f"TorchServe {server.pid}: predictions {server.inference_url}, management {server.management_url}")
    for each in versions:
        say(f"  {each['model']} {each['version']}: workers {', '.join(each['workers']) or 'none'}")


if __name__ == "__main__":
    app()
