"""A private copy of an archive whose signature was verified."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from nautilus_torchserve.signing.archive_signature import read_digest, read_identity, verify_archive
from nautilus_torchserve.wire.digest import SIGNATURE


@dataclass(frozen=True)
class ArchiveCopy:
    """A verified copy in a folder of its own, which is deleted when the block ends."""

    path: Path
    """Path of ``<model>-<version>.mar``."""
    model: str
    version: str
    digest: str
    signer: str | None
    """Name of the key that signed it; None: it was accepted without a signature."""


@contextmanager
def verified_copy(archive: Path, trusted: Path, allow_unsigned: bool = False) -> Iterator[ArchiveCopy]:
    """Copy an archive while verifying it, since the file itself may be replaced meanwhile.

    Parameters
    ----------
    trusted : Path
        Folder of the public keys whose signatures count.
    allow_unsigned : bool
        Accept archives without any signature; one that has a signature needs a trusted one all the same.

    Raises
    ------
    Untrusted
        The file is no archive, hides content, or is not signed by a trusted key.
    """
    with tempfile.TemporaryDirectory(prefix="examined-") as folder:
        copy = Path(folder) / "copy"
        if allow_unsigned and not _is_signed(archive):
            shutil.copyfile(archive, copy)
            (model, version), digest, signer = read_identity(copy), read_digest(copy), None
        else:
            with copy.open("wb") as out:
                verified = verify_archive(archive, trusted, copy=out)
            model, version, digest, signer = verified.model, verified.version, verified.digest, verified.signer
        yield ArchiveCopy(copy.rename(copy.with_name(f"{model}-{version}.mar")), model, version, digest, signer)


def _is_signed(archive: Path) -> bool:
    read_identity(archive)
    with ZipFile(archive) as members:
        return SIGNATURE in members.namelist()
