"""Pack a training run into a model archive."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nautilus_torchserve.cli.app import App, console, echo
from nautilus_torchserve.cli.options import ArchiveVersion, Json
from nautilus_torchserve.models.table import MODELS, spec_of
from nautilus_torchserve.release.build.archive import build_archive

app = App()


@app.command()
def main(
    model: Annotated[str, typer.Argument(help=f"Model: {', '.join(MODELS)}, or package.module:NAME of a spec.")],
    run: Annotated[Path | None, typer.Option(help="Run folder: what `train` wrote; default: runs/MODEL.")] = None,
    version: ArchiveVersion = "1.0",
    out: Annotated[Path, typer.Option(help="Output: the model store.")] = Path("archives"),
    sign_key: Annotated[
        str | None, typer.Option(help="Sign it: a private key's FILE, or env:VARIABLE; default: unsigned.")
    ] = None,
    code: Annotated[
        list[Path] | None,
        typer.Option(help="Your own code that the model imports: a package's folder, or one of packages; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Pack RUN, its handler and the code it needs into OUT/MODEL.mar."""
    name = spec_of(model).name
    with console.status(escape(f"Packing {name} {version}")):
        built = build_archive(model, run or Path("runs") / name, version, out, sign_key, code or [])
    if as_json:
        print(json.dumps(asdict(built), default=str))
    else:
        signed = f"signed by key {built.key_id}" if built.key_id else "unsigned"
        size = f"{built.bytes / 1024:.0f} KiB"
        echo(f"{built.path}: {name} {version}, {size}, digest {built.digest[:12]}, {signed}")
