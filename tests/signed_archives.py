"""Pairs of keys and small signed archives."""

import json
import stat
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from nautilus_torchserve.signing.archive_signature import sign_archive
from nautilus_torchserve.signing.keys import make_key
from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE

MANIFEST_SAYS = {
    "createdOn": "01/02/2026 03:04:05",
    "model": {"modelName": "tick", "modelVersion": "1.0", "handler": "tick_handler.py"},
}
HONEST = {
    "tick_handler.py": b"print('honest')\n",
    "wire/__init__.py": b"",
    "weights.safetensors": bytes(range(256)) * 9,
}
EVIL = b"print('evil')\n"


def keys(folder: Path, name: str = "alice") -> tuple[Path, Path]:
    """Make a new pair of keys; return the private key, and the folder of trusted keys with the public one."""
    private, trusted = folder / f"{name}.key", folder / "trusted"
    make_key(private, trusted / f"{name}.pub")
    return private, trusted


def packed(path: Path, members: dict[str, bytes] = HONEST, manifest: object = MANIFEST_SAYS) -> Path:
    """Write an unsigned archive."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(MANIFEST, json.dumps(manifest))
    return path


def signed(path: Path, key: Path, members: dict[str, bytes] = HONEST, manifest: object = MANIFEST_SAYS) -> Path:
    """Write a signed archive."""
    sign_archive(packed(path, members, manifest), key)
    return path


def content(path: Path) -> dict[str, bytes]:
    """Return the members that Python unpacks, without the signature."""
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != SIGNATURE}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
