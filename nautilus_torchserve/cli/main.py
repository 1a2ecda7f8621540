"""The console command ``nautilus-torchserve``, which imports the one command that is called."""

from typing import Annotated

import typer

from nautilus_torchserve.cli.app import App
from nautilus_torchserve.code_version import NAME, code_version

PANELS = {
    "Bundle": {
        "new": "Write a bundle: model definitions, handlers, strategies.",
    },
    "Models": {
        "leak": "Prove that features of your own know nothing of the future.",
        "train": "Fit a model and write its run folder.",
        "pack": "Pack a run folder into a model archive.",
        "keys": "Make, revoke and list the keys that sign archives.",
        "sign": "Sign a model archive.",
        "verify": "Verify a model archive's signature.",
        "registry": "Register archives, compare versions, set aliases.",
    },
    "Serving": {
        "serve": "Start, restart, inspect and stop TorchServe.",
        "rollout": "Register, promote, roll back and remove versions on a running server.",
        "watch": "Roll out archives as they appear in a folder.",
        "experiment": "Run A/B experiments on live traffic.",
    },
    "Data": {
        "data": "Inspect market data files.",
    },
    "Trading": {
        "backtest": "Backtest a strategy on a model's predictions.",
        "sweep": "Backtest many settings in parallel.",
        "live": "Trade live, on paper or with real orders.",
        "parity": "Compare a recorded live run with its backtest.",
        "audit": "Show the history of an order.",
        "explain": "Attribute predictions to their inputs.",
    },
    "Development": {
        "bench": "Run the benchmarks of a checkout.",
    },
}
"""Panel of the help page -> command, which is a module of this package -> its line there."""


app = App(package="nautilus_torchserve.cli", no_args_is_help=True)
for _panel, _commands in PANELS.items():
    for _name, _summary in _commands.items():
        app.lazy_command(_name, _summary, _panel)


@app.callback(invoke_without_command=True)
def nautilus_torchserve(
    ctx: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> None:
    """PyTorch models on TorchServe, traded by NautilusTrader strategies."""
    if version:
        print(f"{NAME} {code_version()}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        ctx.fail("expected a command, got none")


def main() -> None:
    """Run the command line."""
    app(prog_name=NAME)
