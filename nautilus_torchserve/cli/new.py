"""Write a new bundle."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nautilus_torchserve.bundle import LIBRARY_ROOT, TEMPLATE, copy_bundle
from nautilus_torchserve.cli.app import App, echo
from nautilus_torchserve.cli.options import Json
from nautilus_torchserve.user_error import InvalidArgument

README = """# A nautilus-torchserve bundle

| folder | what it holds |
|---|---|
| `model_defs/` | networks, one a file, with PyTorch alone |
| `handlers/` | what TorchServe loads, one short file for each model |
| `strategies/` | NautilusTrader strategies that trade on predictions |
| `archives/` | the model store: `MODEL.mar`, and `model-config/MODEL.yaml` with batch size and workers |
| `deploy/` | logging, metrics, production settings, and `live/` with settings of live runs |
| `trusted_keys/` | public keys whose archives may be rolled out |
| `config.properties` | TorchServe's configuration |

Commands are run in this folder. The first model is called `tick`; it is fitted on simulated trades, or on yours with
`--data trades.csv`:

    nautilus-torchserve train tick
    nautilus-torchserve pack tick
    nautilus-torchserve serve start tick=tick.mar
    nautilus-torchserve backtest tick
    nautilus-torchserve serve stop

They write to `runs/`, `reports/` and `.server/`.
"""
GITIGNORE = "__pycache__/\n*.mar\n*.key\n/.server/\n/logs/\n/reports/\n/runs/\n"
app = App()


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write, new or empty.")],
    as_json: Json = False,
) -> None:
    """Write a new bundle to DIR: model definitions, handlers, strategies and configuration."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidArgument(f"{folder}: expected a new or an empty folder, got one with files")
    files = copy_bundle(TEMPLATE if TEMPLATE.is_dir() else LIBRARY_ROOT, folder)
    (folder / "README.md").write_text(README)
    (folder / ".gitignore").write_text(GITIGNORE)
    if as_json:
        print(json.dumps({"bundle": str(folder), "files": len(files) + 2}))
    else:
        echo(f"{folder} is a bundle: its README.md names the first commands")
