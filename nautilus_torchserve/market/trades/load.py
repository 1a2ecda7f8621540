"""Loading of trades from any source."""

from dataclasses import replace
from pathlib import Path

from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.csv_files import load_csv
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import BadData, Trades, check


def load(
    data: Path | str | None,
    trades: int,
    seed: int,
    instrument_id: str | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Trades:
    """Load trades and check them.

    Parameters
    ----------
    data : path, optional
        A folder is a NautilusTrader catalog, a file is a CSV; None simulates.
    trades : int
        Number of trades to simulate.
    seed : int
        Seed of the simulation.
    instrument_id : str, optional
        The instrument to read from a catalog; other data must be of this instrument, compared without case and with
        ``-`` equal to ``_``, as venues, vendors and NautilusTrader differ in both.
    read : ReadOptions
        How to interpret times, and whether prices may jump.

    Raises
    ------
    BadData
        No data, unreadable data, another instrument, or failed checks
        (`market.trades.trades.check`).
    """
    loaded = simulate(trades, seed) if data is None else _from_path(Path(data), instrument_id, read)
    loaded_id = loaded.instrument.instrument_id
    if instrument_id is not None and _plain(loaded_id) != _plain(instrument_id):
        raise BadData(f"{loaded.source}: expected trades of {instrument_id}, got {loaded_id}")
    return check(replace(loaded, read=read))


def _plain(name: str) -> str:
    return name.upper().replace("-", "_")


def _from_path(path: Path, instrument_id: str | None, read: ReadOptions) -> Trades:
    if not path.exists():
        raise BadData(f"{path}: expected a CSV file or a catalog folder, got a path that does not exist")
    if path.is_file():
        return load_csv(path, read)
    from nautilus_torchserve.market.trades.catalog import (
        load_catalog,  # a host that only trains on files has no nautilus_trader
    )

    return replace(load_catalog(path, instrument_id), catalog=path)
