"""Say whose an archive is, or why it must not run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from release.signing import Untrusted, verify_archive
from serving.torchserve import PROJECT

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    archive: Annotated[Path, typer.Argument(help="The .mar.")],
    trusted: Annotated[Path, typer.Option(help="Folder of public keys, NAME.pub.")] = PROJECT / "trusted_keys",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Verify ARCHIVE: exit status 0 when a trusted key has signed just this content, else 1 and the reason."""
    try:
        verified = verify_archive(archive, trusted)
    except (Untrusted, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps(asdict(verified)))
    else:
        Console(stderr=True, soft_wrap=True).print(
            f"{archive}: {verified.model} {verified.version}, signed by {verified.signer}, digest {verified.digest}"
        )


if __name__ == "__main__":
    app()
