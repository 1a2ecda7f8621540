"""Building a model archive: one file with everything that a server needs to serve one version."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nautilus_torchserve.bundle import BUNDLE, LIBRARY_ROOT
from nautilus_torchserve.inference import model_files
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.release.build.code_closure import LIBRARY, code_closure
from nautilus_torchserve.release.build.server_packages import has_package, link_server_packages
from nautilus_torchserve.serving.client import isolated_load
from nautilus_torchserve.serving.client.archive_file import (
    UnreadableArchive,
    handler_module,
    open_archive,
    read_manifest,
    second_class,
)
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.server.environment import server_environment
from nautilus_torchserve.signing.archive_signature import Untrusted, read_digest, sign_archive
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.names import check_model_name, check_version

PROGRAM = Path(isolated_load.__file__ or "")
_lock = threading.Lock()


class IncompleteArchive(UserError, RuntimeError):
    """An archive that a server could not load: the error, its place in the code, and the module that is missing."""

    def __init__(self, reason: str, member: str | None = None, line: int | None = None, missing: str | None = None):
        super().__init__(reason)
        self.member, self.line, self.missing = member, line, missing


def load_isolated(archive: Path) -> dict[str, Any]:
    """Load an archive as TorchServe's worker does, in a fresh interpreter without this project and this environment.

    The interpreter is started once; each archive is loaded in a process of its own.

    Returns
    -------
    dict
        The metadata that the archive reports.

    Raises
    ------
    IncompleteArchive
    UnreadableArchive
    """
    manifest = read_manifest(archive)
    handler_module(archive, manifest)
    model = manifest["model"]
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        with open_archive(archive) as members:
            members.extractall(folder)
        response = _request(
            {"folder": os.path.realpath(folder), "model": model["modelName"], "handler": model["handler"]}
        )
    if "error" in response:
        raise IncompleteArchive(response["error"], response.get("file"), response.get("line"), response.get("missing"))
    return response["metadata"]


def _request(request: dict[str, str]) -> dict[str, Any]:
    with _lock:
        process, errors = _interpreter()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(json.dumps(request), file=process.stdin, flush=True)
            response = process.stdout.readline()
        except BrokenPipeError:
            response = ""
        if response:
            return json.loads(response)
        process.wait()
        _interpreter.cache_clear()
        reason = " ".join(errors.read_text(errors="replace").split())[-500:]
        raise IncompleteArchive(f"the interpreter that loads it ended with status {process.returncode}: {reason}")


@cache
def _interpreter() -> tuple["subprocess.Popen[str]", Path]:
    """Start Python without the user's paths, environment and ``.pth`` files; return it and the file of its stderr."""
    folder = Path(tempfile.mkdtemp(prefix="server-packages-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "site").mkdir()
    link_server_packages(folder / "site")
    errors = folder / "stderr.log"
    environment = {**server_environment({}), "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}  # macOS
    with errors.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM), str(folder / "site")],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    atexit.register(process.kill)
    return process, errors


class BuildFailed(UserError):
    """No archive was built; a file of its name is untouched."""


@dataclass(frozen=True)
class BuiltArchive:
    """An archive on disk that was loaded once and gave its golden outputs."""

    path: Path
    """Path of the ``.mar``."""
    model: str
    """Name of the model."""
    version: str
    """Version of the model."""
    digest: str
    """Content digest, which every response carries; the same for the same content."""
    bytes: int
    """Size of the file."""
    key_id: str | None = None
    """Id of the key that signed it; None where none was given."""


def build_archive(
    model: str, run: Path, version: str, out: Path, sign_key: str | Path | None = None, code: Sequence[Path] = ()
) -> BuiltArchive:
    """Pack a training run and the code it needs with torch-model-archiver.

    The archive holds the handler at its root, the modules that it imports as packages, weights, description and golden
    inputs and outputs; no ``strategies``, no ``training``. Before it takes its place it is loaded where there is
    nothing but itself and a server's packages, which proves it complete.

    Parameters
    ----------
    model : str
        Name of the model's spec, see `models.table.spec_of`: ``tick``, or ``package.module:NAME`` of the bundle.
    run : Path
        Run folder that ``nautilus-torchserve train`` wrote.
    version : str
        TorchServe's model version: ``1.0``.
    out : Path
        The model store; the file is ``<out>/<model>.mar``.
    sign_key : str or Path, optional
        The private key that signs it before it takes its place: a file, or ``env:VARIABLE``.
    code : sequence of Path
        The user's own code: packages, or folders of packages and modules, see
        `release.build.code_closure`.

    Raises
    ------
    BuildFailed
        A file is missing, or the archiver failed, or the archive does not load.
    ForbiddenImport
        The code imports what a server does not have.
    BadKey
        The key cannot be used; nothing was built.
    InvalidArgument, InvalidName
        There is no such spec, or a name cannot be used.
    """
    spec = spec_of(model)
    return pack_run(spec.name, spec.handler, run, version, out, sign_key, code)


def pack_run(
    name: str,
    handler_file: str,
    run: Path,
    version: str,
    out: Path,
    sign_key: str | Path | None = None,
    code: Sequence[Path] = (),
) -> BuiltArchive:
    """Pack a run folder with a handler of the bundle; see `build_archive`."""
    check_version(version)
    check_model_name(name)
    handler, config = BUNDLE / handler_file, _server_config(name)
    for path in (handler, config, run / model_files.DESCRIPTION):
        if not path.is_file():
            raise BuildFailed(f"{path}: expected a file, got none")
    description = model_files.read_description(run)
    if description.get("model") != name:
        raise BuildFailed(f"{run}: expected a run of {name!r}, got one of {description.get('model')!r}")
    try:
        members = model_files.members(run)
    except model_files.BadArchive as error:
        raise BuildFailed(f"{run}: {error}") from None
    modules = sorted(model_files.code_modules(run))
    for module in modules:
        _check_module(run, module)
    if reason := second_class(handler.read_bytes()):
        raise BuildFailed(f"{handler.relative_to(BUNDLE)}:{reason}")
    files = code_closure(BUNDLE, handler, modules, code, has_package)
    for member in members:
        if any(member.parts[0] == path.parts[0] for path in files):
            raise BuildFailed(
                f"{member.parts[0]}: expected another name than that of a part of {run}: rename the module"
            )
    files |= {member: run / member for member in members}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="archive-", dir=out) as work:
        content = Path(work) / "content"
        for path, source in files.items():
            (content / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, content / path)
        built = _run_archiver(Path(work), content, name, version, handler, config)
        key_id = None if sign_key is None else sign_archive(built, sign_key).key_id
        digest = _prove_complete(built, name, {**files, Path(handler.name): handler})
        path = out / f"{name}.mar"
        built.replace(path)
    return BuiltArchive(path, name, version, digest, path.stat().st_size, key_id)


def _server_config(name: str) -> Path:
    """Return the bundle's file of batch size, batch delay and workers for a model: its own, else that of all others."""
    folder = BUNDLE / "archives/model-config"
    own = folder / f"{name}.yaml"
    return own if own.is_file() else folder / "model.yaml"


def _check_module(run: Path, module: str) -> None:
    path = Path(*module.split(".")).with_suffix(".py")
    if path.parent != Path(LIBRARY, "inference/models") and not (
        path.parent.name == "model_defs" and (BUNDLE / path).is_file()
    ):
        raise BuildFailed(f"{run}: expected a network in model_defs, got {path}")


def _run_archiver(work: Path, content: Path, model: str, version: str, handler: Path, config: Path) -> Path:
    """Run torch-model-archiver with a temporary folder of its own, since it works at a fixed name in there."""
    temporary = work / "tmp"
    temporary.mkdir()
    # The manifest names the config as the file is called here.
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


def _prove_complete(archive: Path, model: str, files: Mapping[Path, Path]) -> str:
    """Load the archive as a server would, and return its content digest, which it must compute likewise."""
    try:
        digest = read_digest(archive)
        reported = ModelMetadata.from_dict(load_isolated(archive)).archive_digest
    except IncompleteArchive as error:
        reason = f"the archive does not load: {error}{_remedy(error)}"
        raise BuildFailed(f"{_place(error, files)}{model}: {reason}") from error
    except (UnreadableArchive, Untrusted, ValueError) as error:
        raise BuildFailed(f"{model}: the archive does not load: {error}") from error
    if reported != digest:
        raise BuildFailed(f"{model}: expected an archive that reports the digest {digest}, got {reported}")
    return digest


def _place(error: IncompleteArchive, files: Mapping[Path, Path]) -> str:
    if error.member is None:
        return ""
    source = files.get(Path(error.member), Path(error.member))
    for root in (BUNDLE, LIBRARY_ROOT):
        if source.is_relative_to(root):
            source = source.relative_to(root)
    return f"{source}:{error.line}: "


def _remedy(error: IncompleteArchive) -> str:
    if error.missing is None:
        return ""
    return (
        f"; {error.missing} is neither in the archive nor among a server's packages (the extra 'server' of setup.cfg): "
        "add your own package with --code DIR"
    )
