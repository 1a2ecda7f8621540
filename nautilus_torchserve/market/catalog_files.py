"""The Parquet files of a NautilusTrader catalog as exact columns.

NautilusTrader's own reader creates an object per row; reading columns takes seconds for millions of rows.

A stored value is a signed integer of 16 bytes in units of 1e-16 (of 8 bytes in units of 1e-9 where NautilusTrader was
built with its standard precision), whatever the precision that a file's metadata names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nautilus_torchserve.market.trades.trades import BadData

DECIMALS = {16: 16, 8: 9}
"""Bytes of a stored value -> decimals of its unit."""
_LARGEST = np.uint64(2**63 - 1)
_DIVISOR = 8
"""Decimals divided by at once: a remainder below 10**8 leaves 32 more bits free."""
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


def to_steps(
    columns: list[NDArray[np.uint8]], precision: int, overflow: Callable[[int, int, str], Exception]
) -> tuple[list[NDArray[np.int64]], int]:
    """Convert stored values to whole steps of 10**-precision, the same for all columns.

    Parameters
    ----------
    columns : list of uint8 [n, bytes]
        Little-endian.
    precision : int
        Nominal decimals of the values; more are used where a value needs them, so that none is altered.
    overflow : callable
        Given column, row and the value as a decimal text, makes the error for a value beyond int64.

    Returns
    -------
    steps : list of int64 [n]
    precision : int
    """
    signs_and_limbs = [_magnitude(column) for column in columns]
    decimals = DECIMALS[columns[0].shape[1]]
    divided = [_divide(limbs, decimals - precision) for _, limbs in signs_and_limbs]
    if any(inexact.any() for _, inexact in divided):
        for _, limbs in signs_and_limbs:
            precision = _needed(limbs, precision, decimals)
        divided = [_divide(limbs, decimals - precision) for _, limbs in signs_and_limbs]
    steps = []
    for position, ((negative, _), (quotient, _)) in enumerate(zip(signs_and_limbs, divided, strict=True)):
        high, low = _join(quotient)
        large = (high != 0) | (low > _LARGEST)
        if large.any():
            row = int(large.argmax())
            raise overflow(position, row, as_text(columns[position][row]))
        values = low.astype(np.int64)
        steps.append(np.where(negative, -values, values))
    return steps, precision


def as_text(stored: NDArray[np.uint8]) -> str:
    """Return one stored value as a decimal text."""
    raw = int.from_bytes(stored.tobytes(), "little", signed=True)
    decimals = DECIMALS[len(stored)]
    whole, rest = divmod(abs(raw), 10**decimals)
    fraction = f"{rest:0{decimals}d}".rstrip("0")
    return f"{'-' if raw < 0 else ''}{whole}{'.' if fraction else ''}{fraction}"


_Limbs = list[NDArray[np.uint64]]
"""Digits of base 2**32, the most significant first, each [n]."""


def _magnitude(stored: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], _Limbs]:
    """Return which values are negative [n], and the absolute values."""
    words = np.ascontiguousarray(stored).view("<u4").astype(np.uint64)  # (n, bytes / 4), least significant first
    negative = words[:, -1] >= 2**31
    carry = negative.astype(np.uint64)
    limbs: _Limbs = []
    for word in words.T:  # two's complement: every bit turned, then 1 added
        turned = np.where(negative, word ^ np.uint64(0xFFFFFFFF), word) + carry
        limbs.append(turned & np.uint64(0xFFFFFFFF))
        carry = turned >> np.uint64(32)
    return negative, limbs[::-1]


def _divide(limbs: _Limbs, exponent: int) -> tuple[_Limbs, NDArray[np.bool_]]:
    """Return the quotients by 10**exponent, and where there was a remainder [n]."""
    inexact = np.zeros(len(limbs[0]), dtype=bool)
    while exponent > 0:
        divisor = np.uint64(10 ** min(exponent, _DIVISOR))
        remainder = np.zeros(len(limbs[0]), dtype=np.uint64)
        quotient: _Limbs = []
        for limb in limbs:
            value = (remainder << np.uint64(32)) | limb
            digit = value // divisor
            remainder = value - digit * divisor
            quotient.append(digit)
        limbs, inexact = quotient, inexact | (remainder != 0)
        exponent -= _DIVISOR
    return limbs, inexact


def _needed(limbs: _Limbs, precision: int, decimals: int) -> int:
    """Return the lowest precision, from ``precision`` on, at which no value has a remainder."""
    rest = limbs
    while precision < decimals:
        _, inexact = _divide(rest, decimals - precision)
        if not inexact.any():
            break
        rest = [limb[inexact] for limb in rest]
        precision += 1
    return precision


def _join(limbs: _Limbs) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the bits above 64, and the lower 64 bits."""
    high = np.zeros(len(limbs[0]), dtype=np.uint64)
    for limb in limbs[:-2]:
        high |= limb
    return high, (limbs[-2] << np.uint64(32)) | limbs[-1]
