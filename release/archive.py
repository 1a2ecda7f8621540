"""Building a model archive: everything a server needs to serve one version, in one file."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from handlers import model_files
from release.code_closure import code_closure
from release.signing import sign_archive
from serving.client import connect
from wire.digest import archive_digest
from wire.user_error import UserError

PROJECT = Path(__file__).resolve().parent.parent


class BuildFailed(UserError):
    """No archive was built; what was at its place is untouched."""


@dataclass(frozen=True)
class BuiltArchive:
    """An archive on disk, loaded once and found to answer its golden rows."""

    path: Path
    """The ``.mar``."""
    model: str
    """The model's name."""
    version: str
    """Its version."""
    digest: str
    """Content digest, which every answer carries; the same for the same content."""
    bytes: int
    """Its size."""
    key_id: str | None = None
    """Of the key that signed it; None where none was given."""


def build_archive(
    model: str, run: Path, version: str, out: Path, sign_key: str | Path | None = None
) -> BuiltArchive:
    """Pack a training run and the code it needs with torch-model-archiver.

    Holds the handler at its root, the modules it imports as packages, weights, description
    and golden rows; no ``strategies``, no ``training``. Before it takes its place it is
    loaded in this process, which proves it complete.

    Parameters
    ----------
    model : str
        Which handler: ``tick`` for ``handlers/tick_handler.py``.
    run : Path
        What `scripts/train.py` wrote.
    version : str
        TorchServe's model version: ``1.0``.
    out : Path
        The model store; the file is ``<out>/<model>.mar``.
    sign_key : str or Path, optional
        The private key that signs it before it takes its place: a file, or ``env:VARIABLE``.

    Raises
    ------
    BuildFailed
        Naming what is missing, or what the archiver or the archive itself said.
    BadKey
        The key cannot be used; nothing was built.
    """
    handler = PROJECT / "handlers" / f"{model}_handler.py"
    config = PROJECT / "archives" / "model-config" / f"{model}.yaml"
    for path in (handler, config, run / model_files.DESCRIPTION):
        if not path.is_file():
            raise BuildFailed(f"{path}: a file expected, was missing")
    description = model_files.read_description(run)
    if description["model"] != model:
        raise BuildFailed(f"{run}: a run of {model!r} expected, was one of {description['model']!r}")
    try:
        members = model_files.members(run)
    except model_files.BadArchive as error:
        raise BuildFailed(f"{run}: {error}") from None
    networks = [_network(run, module) for module in sorted(model_files.network_modules(run))]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="archive-", dir=out) as work:
        content = Path(work) / "content"
        _stage(content, run, members, handler, networks)
        built = _archive(Path(work), content, model, version, handler, config)
        key_id = None if sign_key is None else sign_archive(built, sign_key).key_id
        digest = _prove(built, model)
        path = out / f"{model}.mar"
        built.replace(path)
    return BuiltArchive(path, model, version, digest, path.stat().st_size, key_id)


def _network(run: Path, module: str) -> Path:
    path = Path(*module.split(".")).with_suffix(".py")
    if path.parent.name != "model_defs" or not (PROJECT / path).is_file():
        raise BuildFailed(f"{run}: a network in model_defs expected, was {path}")
    return path


def _stage(content: Path, run: Path, members: list[Path], handler: Path, networks: list[Path]) -> None:
    """Lay out what goes in beside the handler itself."""
    entries = [PROJECT / network for network in networks]
    code = {*networks, *code_closure(PROJECT, handler, *entries)}
    for root, paths in ((run, members), (PROJECT, sorted(code))):
        for path in paths:
            (content / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, content / path)


def _archive(work: Path, content: Path, model: str, version: str, handler: Path, config: Path) -> Path:
    """Run the archiver, in a temporary folder of its own: it works at a fixed name in it."""
    temporary = work / "tmp"
    temporary.mkdir()
    # The archiver names the config in the manifest as it is called here.
    shutil.copyfile(config, temporary / "model-config.yaml")
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", model, "--version", version]
    command += ["--handler", str(handler), "--extra-files", str(content), "--export-path", str(work)]
    command += ["--config-file", str(temporary / "model-config.yaml")]
    result = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True, check=False
    )
    built = work / f"{model}.mar"
    if result.returncode or not built.is_file():
        raise BuildFailed(f"torch-model-archiver: {(result.stderr or result.stdout).strip()}")
    return built


def _prove(archive: Path, model: str) -> str:
    """Load it; returns the content digest, which it must compute as we do."""
    try:
        with connect(f"mar:{archive}", model) as client:
            said, digest = client.metadata["archive_digest"], archive_digest(archive)
    except (ValueError, ImportError, KeyError, TypeError) as error:  # `UnreadableArchive` is a ValueError
        raise BuildFailed(f"{model}: the archive does not load: {error}") from error
    if said != digest:
        raise BuildFailed(f"{model}: an archive that says {digest} of itself expected, was {said}")
    return digest
