"""The Parquet files of a NautilusTrader catalog as exact columns.

NautilusTrader's own reader creates an object per row; reading columns takes seconds for millions of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nautilus_torchserve.market.fixed_point import DECIMALS, to_steps
from nautilus_torchserve.market.trades.trades import BadData

PRICE_PRECISION, SIZE_PRECISION = b"price_precision", b"size_precision"
"""Keys of a file's metadata."""


@dataclass(frozen=True)
class CatalogTable:
    """All rows of one kind of data of one instrument, by time of receipt."""

    source: str
    """Name of the data, for messages."""
    columns: pa.Table
    """Stored columns of all files."""
    price_precision: int
    """The highest price precision of all files."""
    size_precision: int
    """The highest size precision of all files."""
    instrument_id: str
    """Identifier as stored: ``AUD/USD.SIM``."""

    def integers(self, name: str) -> NDArray[np.int64]:
        """Return a column of times or enumerations, int64 [n].

        Raises
        ------
        BadData
            A value of 2**63 or more, or no integers.
        """
        values = self.columns[name].to_numpy()
        if values.dtype.kind not in "iu":
            raise BadData(f"{self.source}: expected {name} as integers, got {self.columns[name].type}")
        if values.dtype == np.uint64 and (large := values >= 2**63).any():
            row = int(large.argmax())
            raise BadData(f"{self.source}: row {row + 1}: expected {name} below 2**63, got {values[row]}")
        return values.astype(np.int64)

    def steps(self, names: Sequence[str], precision: int) -> tuple[list[NDArray[np.int64]], int]:
        """Return columns of prices or sizes in whole steps, each int64 [n], and the decimals of a step.

        Raises
        ------
        BadData
            A value of 2**63 steps or more.
        """

        def overflow(position: int, row: int, text: str) -> BadData:
            return BadData(
                f"{self.source}: {self.place(row)}: expected {names[position]} below 2**63 steps of 1e-{precision}, "
                f"got {text}"
            )

        return to_steps([_stored(self.columns[name]) for name in names], precision, overflow)

    def place(self, row: int) -> str:
        """Return the place of a row, for messages."""
        ts_event = int(self.columns["ts_event"][row].as_py())
        return f"row {row + 1} ({np.datetime64(ts_event, 'ns')}Z)"


def read_catalog_files(source: str, folder: Path, prices: Sequence[str], size: str) -> CatalogTable:
    """Read all Parquet files of a folder, each by its own metadata.

    Parameters
    ----------
    source : str
        Name of the data, for messages.
    folder : Path
        ``data/trade_tick/BTCUSDT.BINANCE`` and the like.
    prices : sequence of str
        The columns of prices.
    size : str
        The column of sizes.

    Raises
    ------
    BadData
        A file that cannot be read, or that another version of NautilusTrader wrote in another layout.
    """
    tables, precisions, names = [], [], []
    for path in sorted(folder.glob("*.parquet")):
        table = _read(source, path)
        _check_layout(source, path, table, (*prices, size))
        metadata = table.schema.metadata
        precisions.append((int(metadata[PRICE_PRECISION]), int(metadata[SIZE_PRECISION])))
        bar_type = metadata.get(b"bar_type", b"").decode()
        names.append(metadata.get(b"instrument_id", b"").decode() or bar_type.partition("@")[0].rsplit("-", 4)[0])
        tables.append(table.replace_schema_metadata(None))
    joined = pa.concat_tables(tables)
    if not len(joined):
        raise BadData(f"{source}: expected at least one row, got empty files in {folder}")
    order = np.argsort(joined["ts_init"].to_numpy(), kind="stable")
    if (np.diff(order) < 0).any():
        joined = joined.take(order)
    price_precision, size_precision = (max(column) for column in zip(*precisions, strict=True))
    return CatalogTable(source, joined, price_precision, size_precision, names[0])


def _read(source: str, path: Path) -> pa.Table:
    try:
        return pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{source}: expected a Parquet file, got {path.name}, which is unreadable: {error}") from error


def _check_layout(source: str, path: Path, table: pa.Table, names: Sequence[str]) -> None:
    schema = table.schema
    missing = [name for name in (*names, "ts_event", "ts_init") if name not in schema.names]
    kinds = {str(schema.field(name).type) for name in names if name in schema.names}
    widths = {f"fixed_size_binary[{width}]" for width in DECIMALS}
    metadata = schema.metadata or {}
    has_precisions = all(metadata.get(key, b"").isdigit() for key in (PRICE_PRECISION, SIZE_PRECISION))
    if missing or len(kinds) != 1 or not kinds <= widths or not has_precisions:
        got = f"without {', '.join(missing)}" if missing else f"{', '.join(sorted(kinds))}"
        raise BadData(
            f"{source}: expected prices and sizes as {' or '.join(sorted(widths))} with their precisions, as "
            f"NautilusTrader 1.221 and later write them, got {got} in {path.name}; write the data anew with such a "
            "version"
        )


def _stored(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return the bytes of fixed-size values, uint8 [n, bytes]."""
    width = column.type.byte_width
    parts = []
    for chunk in column.chunks:
        flat = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
        parts.append(flat[chunk.offset * width : (chunk.offset + len(chunk)) * width].reshape(-1, width))
    return np.concatenate(parts) if parts else np.empty((0, width), dtype=np.uint8)
