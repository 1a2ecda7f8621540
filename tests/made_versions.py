"""Versions of the tick classifier made for a purpose, signed."""

import json
from pathlib import Path
from zipfile import ZipFile

from nautilus_torchserve.signing.archive_signature import sign_archive
from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE

HANDLER = "tick_handler.py"
RAISES = "\nraise RuntimeError('raised on purpose')\n"
LOADS_SLOWLY = "\nimport time\ntime.sleep(20)\n"
TAKES_30_MS = """
import time
_compute = TickHandler.compute
def _slow(self, asked):
    time.sleep(0.03)
    return _compute(self, asked)
TickHandler.compute = _slow
"""
ANSWERS_OTHERWISE = """
_compute = TickHandler.compute
def _other(self, asked):
    return _compute(self, asked)[:, ::-1].copy() if self.initialized else _compute(self, asked)
TickHandler.compute = _other
"""
SAYS_ANOTHER_DIGEST = """
_initialize = TickHandler.initialize
def _lying(self, context):
    _initialize(self, context)
    self._headers["x-archive-digest"] = "0" * 64
TickHandler.initialize = _lying
"""
DIES_LATER = """
import os, time
_compute = TickHandler.compute
def _dying(self, asked):
    asks = self.__dict__["asks"] = self.__dict__.get("asks", 0) + 1
    if asks > 20:
        os._exit(1)
    return _compute(self, asked)
TickHandler.compute = _dying
"""


def made(
    archive: Path, to: Path, version: str, key: Path | None, code: str = "", without: tuple[str, ...] = ()
) -> Path:
    """A copy of an archive under another version, with ``code`` at the end of its handler, without some members."""
    with ZipFile(archive) as old, ZipFile(to, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == MANIFEST:
                manifest = json.loads(data)
                manifest["model"]["modelVersion"] = version
                data = json.dumps(manifest).encode()
            elif name == HANDLER:
                data += code.encode()
            if name not in (*without, SIGNATURE):
                new.writestr(name, data)
    if key is not None:
        sign_archive(to, key)
    return to
