"""Verify the signature of an archive."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nautilus_torchserve.cli.app import App, echo, print_json
from nautilus_torchserve.cli.options import TRUSTED, Json, Trusted
from nautilus_torchserve.signing.archive_signature import verify_archive

app = App()


@app.command()
def main(
    archive: Annotated[Path, typer.Argument(help="The .mar.")],
    trusted: Trusted = TRUSTED,
    as_json: Json = False,
) -> None:
    """Verify ARCHIVE: exit status 0 when a trusted key has signed just this content, else 1 and the reason."""
    verified = verify_archive(archive, trusted)
    if as_json:
        print_json(asdict(verified))
    else:
        echo(f"{archive}: {verified.model} {verified.version}, signed by {verified.signer}, digest {verified.digest}")
