"""Make a pair of keys for signing archives."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from cli.app import App, say
from serving.torchserve import PROJECT
from signing.keys import PASSPHRASE, make_key

app = App()
HOME = Path("~/.config/nautilus-torchserve")


@app.command()
def main(
    name: Annotated[str, typer.Argument(help="Whose key: what verifying an archive says of it later.")],
    private: Annotated[Path | None, typer.Option(help=f"Where the private key goes ({HOME}/NAME.key).")] = None,
    trusted: Annotated[Path, typer.Option(help="Folder of public keys.")] = PROJECT / "trusted_keys",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Make a private key for NAME, and TRUSTED/NAME.pub.

    The private key is encrypted when ARCHIVE_KEY_PASSPHRASE is set; signing wants the same variable then.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise typer.BadParameter(f"letters, digits and _ . - expected, was {name!r}", param_hint="NAME")
    private, public = (private or HOME / f"{name}.key").expanduser(), trusted / f"{name}.pub"
    made = make_key(private, public)
    if as_json:
        print(json.dumps({"key_id": made, "private": str(private), "public": str(public)}))
        return
    say(f"key {made}\n  private: {private} (only you can read it; with {PASSPHRASE} set, it is encrypted too)")
    say(f"  public:  {public}: commit it, and archives signed with this key can be rolled out")


if __name__ == "__main__":
    app()
