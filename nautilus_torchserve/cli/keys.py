"""Keys for signing archives: make a pair, revoke one, list those that are trusted."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from nautilus_torchserve.cli.app import App, echo, print_json
from nautilus_torchserve.cli.options import TRUSTED, Json, Trusted
from nautilus_torchserve.signing.keys import PASSPHRASE, make_key, parse_expiry
from nautilus_torchserve.signing.trust import read_trust, revoke

app = App(default_command="create", help=__doc__, no_args_is_help=True)
PRIVATE_KEYS = Path("~/.config/nautilus-torchserve")


def expiry(text: str) -> str:
    """Parse a number of days (``365d``), an ISO 8601 date, or ``never``, to ISO 8601, empty for never."""
    days, now = re.fullmatch(r"(\d{1,6})d", text), datetime.now(UTC)
    if text == "never":
        return ""
    try:
        moment = now + timedelta(days=int(days[1])) if days else parse_expiry(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"expected 365d, 2027-12-31 or never, got {text!r:.40}") from None
    if moment <= now:
        raise typer.BadParameter(f"expected a date to come, got {text!r:.40}")
    return moment.isoformat()


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Owner of the key, shown when an archive is verified.")],
    private: Annotated[Path | None, typer.Option(help=f"Private key file; default: {PRIVATE_KEYS}/NAME.key.")] = None,
    trusted: Trusted = TRUSTED,
    expires: Annotated[str, typer.Option(parser=expiry, help="Expiry: 90d, 2027-12-31 or never.")] = "365d",
    as_json: Json = False,
) -> None:
    """Make a private key for NAME, and TRUSTED/NAME.pub. `keys.py NAME` is short for this.

    The private key is encrypted when ARCHIVE_KEY_PASSPHRASE is set; signing wants the same variable then.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise typer.BadParameter(f"expected letters, digits and _ . -, got {name!r:.100}", param_hint="NAME")
    private, public = (private or PRIVATE_KEYS / f"{name}.key").expanduser(), trusted / f"{name}.pub"
    made = make_key(private, public, parse_expiry(expires) if expires else None)
    if as_json:
        print_json({"key_id": made, "private": str(private), "public": str(public), "expires": expires or None})
        return
    echo(
        f"key {made}, {f'expires {expires[:10]}' if expires else 'never expires'}\n"
        f"  private: {private} (only you can read it; with {PASSPHRASE} set, it is encrypted too)"
    )
    echo(f"  public:  {public}: commit it, and archives signed with this key can be rolled out")


@app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="NAME of TRUSTED/NAME.pub, or a key id.")],
    reason: Annotated[str, typer.Option(help="Reason, shown when an archive of that key is refused.")] = "",
    trusted: Trusted = TRUSTED,
    as_json: Json = False,
) -> None:
    """Refuse everything that this key has signed, from now on, by a line in TRUSTED/revoked."""
    revoked = revoke(trusted, key, reason)
    if as_json:
        print_json({"key_id": revoked, "revoked": str(trusted / "revoked")})
    else:
        echo(
            f"key {revoked} is revoked: commit {trusted / 'revoked'}; servers that run its archives serve on until "
            "they are restarted"
        )


@app.command("list")
def list_keys(trusted: Trusted = TRUSTED, as_json: Json = False) -> None:
    """List the keys, when they expire, and which are revoked."""
    trust = read_trust(trusted)
    rows = [
        {
            "name": key.name,
            "key_id": key_id,
            "expires": key.expires and key.expires.isoformat(),
            "state": "revoked" if key_id in trust.revoked else "expired" if key.has_expired() else "valid",
        }
        for key_id, key in trust.keys.items()
    ]
    rows += [
        {"name": None, "key_id": key_id, "expires": None, "state": "revoked"}
        for key_id in trust.revoked
        if key_id not in trust.keys
    ]
    if as_json:
        print_json({"keys": rows, "allowed_digests": None if trust.allowed is None else len(trust.allowed)})
        return
    for row in rows:
        echo(f"{row['name'] or '(unknown)'}: {row['key_id']}, {row['state']}, expires {row['expires'] or 'never'}")
    if trust.allowed is not None:
        echo(f"only the {len(trust.allowed)} digests in {trusted / 'allowed_digests'} are accepted")
