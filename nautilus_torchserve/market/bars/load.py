"""Loading of bars from any source."""

from dataclasses import replace
from pathlib import Path

from nautilus_torchserve.market.bars.aggregate import aggregate
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import check_bars
from nautilus_torchserve.market.bars.csv_files import load_csv_bars
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, BarSimulatorConfig, simulate_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import BadData


def load_bars(
    data: Path | str | None,
    bars: int,
    seed: int,
    instrument_id: str | None = None,
    interval_ns: int | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Bars:
    """Load bars of one instrument, check them, and aggregate them to ``interval_ns``.

    Findings that are not fatal, such as breaks, are not reported here: see
    `market.bars.checks.examine`.

    Parameters
    ----------
    data : path, optional
        A folder is a NautilusTrader catalog, a file is a CSV; None simulates.
    bars : int
        Number of bars to simulate.
    seed : int
        Seed of the simulation.
    instrument_id : str, optional
        The instrument to read from a catalog, or that of a CSV without a name; other data
        must be of this instrument.
    interval_ns : int, optional
        Interval of the bars to return, a multiple of the stored one; None keeps the stored one (and
        simulates minutes).
    read : ReadOptions
        How to interpret times, and whether prices may jump; see
        `market.bars.csv_files`.

    Raises
    ------
    BadData
        No data, unreadable data, another instrument, fatal findings (`market.bars.checks`), or an
        interval that is no multiple of the stored one.
    """
    if data is None:
        loaded = simulate_bars(bars, seed, BarSimulatorConfig(interval_ns=interval_ns or MINUTE_NS))
    else:
        loaded = _from_path(Path(data), instrument_id, interval_ns, read)
    loaded_id = loaded.instrument.instrument_id
    if instrument_id is not None and loaded_id != instrument_id:
        raise BadData(f"{loaded.source}: expected bars of {instrument_id}, got {loaded_id}")
    checked = check_bars(replace(loaded, read=read))
    return checked if interval_ns is None else check_bars(aggregate(checked, interval_ns))


def _from_path(path: Path, instrument_id: str | None, interval_ns: int | None, read: ReadOptions) -> Bars:
    if not path.exists():
        raise BadData(f"{path}: expected a CSV file or a catalog folder, got a path that does not exist")
    if path.is_file():
        return load_csv_bars(path, instrument_id, read)
    from nautilus_torchserve.market.bars.catalog import (
        load_catalog_bars,  # a host that only trains on files has no nautilus_trader
    )

    return replace(load_catalog_bars(path, instrument_id, interval_ns), catalog=path)
