"""Sign an archive."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nautilus_torchserve.cli.app import App, echo, print_json
from nautilus_torchserve.cli.options import Json
from nautilus_torchserve.signing.archive_signature import sign_archive

app = App()


@app.command()
def main(
    archive: Annotated[Path, typer.Argument(help="The .mar; it is replaced by the signed one.")],
    key: Annotated[str, typer.Option(help="A private key's FILE, or env:VARIABLE that holds one.")],
    as_json: Json = False,
) -> None:
    """Sign ARCHIVE. None of its code is run: a job that holds the key need not train or load anything."""
    signed = sign_archive(archive, key)
    if as_json:
        print_json(asdict(signed))
    else:
        echo(f"{archive}: {signed.model} {signed.version}, digest {signed.digest[:12]}, signed by key {signed.key_id}")
