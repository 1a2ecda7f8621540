"""A tick model that never says HOLD, so that a short run sees many orders."""

from pathlib import Path

from tick_versions import made

NEVER_HOLD = """
_compute = TickHandler.compute
def _eager(self, asked):
    said = _compute(self, asked)
    if self.initialized:
        said = said.copy()
        said[:, 2] = 0.0
        said /= said.sum(axis=1, keepdims=True)
    return said
TickHandler.compute = _eager
"""


def eager(tick_archive: Path, folder: Path) -> Path:
    """A copy of the archive whose probabilities are those of BUY and SELL alone."""
    return made(tick_archive, folder / "tick.mar", "1.0", None, NEVER_HOLD)
