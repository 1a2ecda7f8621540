"""Proof that an archive is complete: it loads where there is nothing but itself and a server's packages."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

from nautilus_torchserve.release.build.server_packages import link_server_packages
from nautilus_torchserve.serving.client import isolated_load
from nautilus_torchserve.serving.client.archive_file import handler_module, open_archive, read_manifest
from nautilus_torchserve.serving.server.environment import server_environment
from nautilus_torchserve.user_error import UserError

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
