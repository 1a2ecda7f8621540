"""Versions of the tick classifier that misbehave on purpose: slow, failing, wrong, dying."""

from pathlib import Path

from benchmarks.versions import as_version
from nautilus_torchserve.signing.archive_signature import sign_archive

HANDLER = "tick_handler.py"
RAISES = "\nraise RuntimeError('raised on purpose')\n"
LOADS_SLOWLY = "\nimport time\ntime.sleep(20)\n"
TAKES_30_MS = """
import time
_compute = TickModel.compute
def _slow(self, requests):
    time.sleep(0.03)
    return _compute(self, requests)
TickModel.compute = _slow
"""
ANSWERS_OTHERWISE = """
_compute = TickModel.compute
def _other(self, requests):
    outputs = _compute(self, requests)
    return outputs[:, ::-1].copy() if hasattr(self, "golden_columns") else outputs  # loaded
TickModel.compute = _other
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
_compute = TickModel.compute
def _dying(self, requests):
    calls = self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
    if calls > 20:
        os._exit(1)
    return _compute(self, requests)
TickModel.compute = _dying
"""


def made(
    archive: Path, to: Path, version: str, key: Path | None, code: str = "", without: tuple[str, ...] = ()
) -> Path:
    """Write an archive under another version, with ``code`` at the end of its handler, and without some members.

    Signed where a key is given.
    """

    def edit(name: str, content: bytes) -> bytes | None:
        if name in without:
            return None
        return content + code.encode() if name == HANDLER else content

    as_version(archive, to, version, edit)
    if key is not None:
        sign_archive(to, key)
    return to
