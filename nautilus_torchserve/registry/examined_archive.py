"""A copy of an archive that is known to be what was signed."""

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
class ExaminedArchive:
    """Nobody else writes to it; gone when the block ends."""

    path: Path
    """``<model>-<version>.mar`` in a folder of its own."""
    model: str
    version: str
    digest: str
    signer: str | None
    """Whose signature it has; None: it was let through without one."""


@contextmanager
def examined(archive: Path, trusted: Path, allow_unsigned: bool = False) -> Iterator[ExaminedArchive]:
    """Copy an archive while verifying it: the file itself may be replaced by somebody meanwhile.

    Parameters
    ----------
    trusted : Path
        Folder of the public keys whose signatures count.
    allow_unsigned : bool
        Let archives without any signature through; one that has a signature needs a trusted one all the same.

    Raises
    ------
    Untrusted
        No archive, one in which something is hidden, or not signed as it must be.
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
        yield ExaminedArchive(copy.rename(copy.with_name(f"{model}-{version}.mar")), model, version, digest, signer)


def _is_signed(archive: Path) -> bool:
    read_identity(archive)
    with ZipFile(archive) as members:
        return SIGNATURE in members.namelist()
