"""The settings of a short live run on simulated trades, with an archive in its own process."""

from pathlib import Path

_SETTINGS = """[node]
settle_s = 0.1
[market]
kind = "replay"
simulate = {trades}
seed = 9
speed = {speed}
warm_up = 150
[execution]
kind = "sandbox"
balance = "10000 USD"
[model]
kind = "tick"
[model.actor]
url = "mar:{archive}"
instrument_id = "SIMUSD.SIM"
warm_up_ns = "1h"
[model.actor.live]
deadline_ns = "5s"
[strategy]
trade_size = "0.01"
max_position = "0.01"
min_probability = 0.34
max_age_ns = "5s"
[risk]
max_daily_loss = "2000"
state_file = "{folder}/day.json"
"""
_AUDIT = """[audit]
url = "parquet:{folder}/audit"
"""


def write_live_settings(folder: Path, archive: Path, trades: int, speed: float, audit: bool = True) -> None:
    """Write ``live.toml``, of a run whose trading day and audit log are in the same folder.

    Parameters
    ----------
    trades : int
        Simulated trades that are replayed, warm-up included.
    speed : float
        Times as fast as they happened.
    audit : bool
        Whether the run keeps an audit log.
    """
    settings = _SETTINGS + _AUDIT if audit else _SETTINGS
    text = settings.format(folder=folder, archive=archive, trades=trades, speed=speed)
    (folder / "live.toml").write_text(text)
