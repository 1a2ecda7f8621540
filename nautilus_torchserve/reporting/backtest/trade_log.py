"""The trades of a backtest beside its report, each with the model's inputs before it, for explanations.

``trades.json`` holds all but the rows of numbers, which are in ``trades.npz``, float32 as they were sent.
"""

import io
import json
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import orjson
from numpy.typing import NDArray

from nautilus_torchserve.user_error import UserError

TRADES, ROWS = "trades.json", "trades.npz"


class BadReport(UserError, ValueError):
    """A report folder without the trades that it should hold; names the file."""


@dataclass(frozen=True, eq=False)
class PastTrade:
    """One position from its opening to its close, and the prediction that it was opened on."""

    number: int
    """From 1, in order of their closing."""
    side: str
    """Of the opening order: ``BUY`` or ``SELL``."""
    quantity: float
    """Greatest size held."""
    ts_opened: int
    """Simulated Unix ns."""
    ts_closed: int
    """Simulated Unix ns."""
    price_opened: float
    price_closed: float
    """Averages over fills."""
    pnl: float
    """In the account's currency, less fees."""
    feature_ts: int
    """When the newest event that the model saw happened, Unix ns."""
    outputs: dict[str, float]
    """The model's outputs by name."""
    row: NDArray[np.float32]
    """The input row of the request."""
    texts: tuple[str, ...] = ()
    """Headlines that were sent with the row."""
    ages_s: tuple[float, ...] = ()
    """Age of each headline: seconds since it was received."""


@dataclass(frozen=True, eq=False)
class TradeLog:
    """The trades of one instrument."""

    instrument_id: str
    currency: str
    """Of the account."""
    model: str
    """Name of the model in the requests."""
    version: str
    archive_digest: str
    """Content digest of the archive that predicted."""
    url: str
    """Address of the server."""
    inputs: str
    """Kind of input: ``rows``, or ``windows and texts``."""
    trades: tuple[PastTrade, ...]

    def trade(self, number: int) -> PastTrade:
        """Return a trade by its number.

        Raises
        ------
        BadReport
            There is none.
        """
        if not 1 <= number <= len(self.trades):
            range_text = f"trade 1 to {len(self.trades)}" if self.trades else "no trade, as no position was closed"
            raise BadReport(f"expected {range_text}, got {number}")
        return self.trades[number - 1]

    def best(self) -> PastTrade | None:
        """Return the most profitable trade, of those on news if there are any; None without trades."""
        return max(self.trades, key=lambda trade: (bool(trade.texts), trade.pnl), default=None)


def trade_files(log: TradeLog) -> dict[str, bytes]:
    """Return the files that hold a log, by name, with their content; no rows file where there are no trades."""
    plain = asdict(replace(log, trades=()))
    plain["trades"] = [{name: value for name, value in vars(trade).items() if name != "row"} for trade in log.trades]
    files = {TRADES: orjson.dumps(plain, option=orjson.OPT_INDENT_2)}
    if log.trades:
        packed = io.BytesIO()
        np.savez_compressed(packed, rows=np.stack([trade.row for trade in log.trades]))
        files[ROWS] = packed.getvalue()
    return files


def read_trades(folder: Path) -> TradeLog:
    """Read the log that `trade_files` wrote.

    Raises
    ------
    BadReport
        The folder holds no trades, or they do not belong together.
    """
    path = folder / TRADES
    if not path.is_file():
        raise BadReport(f"expected {path}, which the report of one instrument has, got a path that does not exist")
    try:
        plain = json.loads(path.read_text())
        values = plain.pop("trades")
        rows = _read_rows(folder / ROWS) if values else []
        if len(rows) != len(values):
            raise BadReport(f"{folder / ROWS}: expected {len(values)} rows for as many trades, got {len(rows)}")
        trades = tuple(
            PastTrade(**{**trade, "texts": tuple(trade["texts"]), "ages_s": tuple(trade["ages_s"])}, row=row)
            for trade, row in zip(values, rows, strict=True)
        )
        return TradeLog(**plain, trades=trades)
    except BadReport:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadReport(f"{path}: expected the trades of a report as it was written, got: {error!r}") from error


def _read_rows(path: Path) -> list[NDArray[np.float32]]:
    if not path.is_file():
        raise BadReport(f"expected {path}, got a path that does not exist")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return list(stored["rows"])
    except (ValueError, EOFError, KeyError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
        raise BadReport(f"{path}: expected the rows of a report's trades, got: {error}") from error
