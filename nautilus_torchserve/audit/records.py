"""The records of a run: requests to models, decisions on their responses, and what became of the orders.

Plain types alone, so that a log is read without NautilusTrader. Prices and quantities are decimals as texts, exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.user_error import UserError

Floats = NDArray[np.float32]
Outputs = Mapping[str, float]
Texts = tuple[str, ...]
Numbers = tuple[float, ...]
Shape = tuple[int, ...]
Words = Mapping[str, str]

STARTED = "STARTED"
STOPPED = "STOPPED"
ANSWERED = "ANSWERED"
"""A `RequestRecord`'s fate where the response came in time."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Record:
    """Fields that all records have."""

    kind: ClassVar[str]
    """Name of this kind in folders and tables."""

    run_id: str
    """Run of the record: one start of one process, or one backtest."""
    seq: int
    """Position among all records of the run, from 0: a gap is a record that was lost."""
    ts_ns: int
    """Time at which it happened, or was received, by the run's clock, Unix ns; simulated in a backtest."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SessionRecord(Record):
    """The begin of a run, or its end."""

    kind = "sessions"

    event: str
    """``STARTED`` or ``STOPPED``; a run without the second was ended by a crash, or still runs."""
    wall_ns: int
    """Time by the machine's clock, Unix ns."""
    trader_id: str
    source: str
    """Source of the data, in words."""
    config_digest: str
    """SHA-256 of the run's configuration; empty where it is not known."""
    strategies: str
    """The strategies' configs as JSON: ``[{"strategy_path", "config_path", "config"}, ...]``."""
    instruments: str
    """The instruments as JSON, as NautilusTrader writes them."""
    packages: Words
    """Name -> version of the packages that decide what comes out."""
    dropped: int
    """Records that were dropped so far."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PlaybackRecord(Record):
    """The begin or the end of a replay of recorded data."""

    kind = "playbacks"

    shift_ns: int
    """Shift that was added to all recorded times (nanoseconds)."""
    source: str
    """Source of the recorded data."""
    sha256: str
    """Hash of the recorded values, as recorded."""
    events: int
    """Played so far, quotes not counted."""
    ended: bool
    """Whether all have been played."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RequestRecord(Record):
    """One request to a model, and what became of it."""

    kind = "asked"

    instrument_id: str
    question: int
    """Position of its newest event among all that were received of the instrument, from 0."""
    ts_event: int
    """Time of that event at the venue, Unix ns."""
    ts_init: int
    """Time at which it was received, Unix ns."""
    features: Floats
    """The inputs, float32, all in one row."""
    shape: Shape
    """Shape of the features: ``(4,)`` of ticks, ``(60, 5)`` of bars."""
    texts: Texts
    """Texts of the request besides the features."""
    ages_s: Numbers
    """Age of each text (seconds)."""
    model: str
    """Name of the requested model."""
    url: str
    """URL of the server; empty where nothing was sent."""
    version: str
    """The version that answered; empty without an answer."""
    digest: str
    """Content digest of the archive that answered; empty without an answer."""
    outputs: Outputs
    """Name -> value, exact float32; empty without an answer."""
    fate: str
    """``ANSWERED``, ``LATE``, ``EXPIRED`` or ``FAILED``."""
    error: str
    """Error of the call; empty without one."""
    sent_ns: int
    """Time at which the request was sent, Unix ns; 0: it was not."""
    ended_ns: int
    """Time of its end, Unix ns."""
    latency_ns: int
    """Wall time of the call; 0 where nothing was sent."""
    rows: int
    """Rows in the same call."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DecisionRecord(Record):
    """A strategy's decision on a prediction."""

    kind = "decisions"

    strategy_id: str
    instrument_id: str
    model: str
    version: str
    digest: str
    status: str
    """Status of the prediction: ``OK``, ``LATE``, ``DEGRADED`` or ``LEFT``."""
    outputs: Outputs
    """Outputs of the prediction, exact float32."""
    question: int
    """Number of the request, as `RequestRecord.question`; -1 where requests are not counted."""
    ts_event: int
    """Time of the prediction's event, Unix ns."""
    ts_init: int
    """Time at which the prediction took effect, Unix ns."""
    feature_ts: int
    """Time of the newest event among the features, Unix ns."""
    latency_ns: int
    """Wall time of the call (nanoseconds)."""
    split: str
    """Traffic split that the request was a part of; empty without one."""
    leaving: bool
    """Whether the instrument was to change to another version."""
    age_ns: int
    """Age of the prediction's newest event when it was decided on (nanoseconds)."""
    position: str
    """Net position before it, in base currency."""
    side: str
    """``BUY`` or ``SELL``; empty where no order was sent."""
    quantity: str
    """Quantity of the order; 0 without one."""
    client_order_id: str
    """Id of the order; empty without one."""
    why: str
    """Reason, in words."""
    bid: str
    """Best bid at that moment; empty where it was not known."""
    ask: str
    """Best ask at that moment; empty where it was not known."""
    last: str
    """Price of the last trade at that moment; empty where it was not known."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _OrderEventRecord(Record):
    """Fields of records about an order."""

    strategy_id: str
    instrument_id: str
    client_order_id: str
    venue_order_id: str
    """Empty while the venue has not given one."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OrderRecord(_OrderEventRecord):
    """One event in an order's life, fills apart."""

    kind = "orders"

    event: str
    """``INITIALIZED``, ``SUBMITTED``, ``ACCEPTED``, ``REJECTED``, ``DENIED``, ``CANCELED`` ..."""
    ts_event: int
    """Time by the venue's clock, Unix ns; a paper venue's stands still between two data."""
    order_type: str
    """``MARKET`` ...; given with ``INITIALIZED``, else empty."""
    side: str
    """``BUY`` or ``SELL``; given with ``INITIALIZED``, else empty."""
    quantity: str
    """Given with ``INITIALIZED``, else empty."""
    tags: Texts
    """``model=tick``, ``version=1.0`` ...; given with ``INITIALIZED``, else none."""
    reason: str
    """Reason why it was rejected or denied; else empty."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FillRecord(_OrderEventRecord):
    """One fill."""

    kind = "fills"

    ts_event: int
    """Time by the venue's clock, Unix ns; a paper venue's stands still between two data."""
    trade_id: str
    position_id: str
    side: str
    quantity: str
    price: str
    fee: str
    """In ``fee_currency``; below 0 it was paid to us."""
    fee_currency: str
    liquidity: str
    """``MAKER`` or ``TAKER``."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HaltRecord(Record):
    """The order to stop trading."""

    kind = "halts"

    reason: str


KINDS: tuple[type[Record], ...] = (
    SessionRecord,
    PlaybackRecord,
    RequestRecord,
    DecisionRecord,
    OrderRecord,
    FillRecord,
    HaltRecord,
)


R = TypeVar("R", bound=Record)


class LogFailed(UserError):
    """The log cannot be opened or read, or did not take the records."""


class UnfitRecord(LogFailed):
    """Records of which at least one has a value that the log cannot hold; none of them was taken."""


class AuditLog(Protocol):
    """Records in the order in which they were appended; nothing is ever changed."""

    name: str
    """Path or URL of the log, without passwords."""

    @property
    def last_hash(self) -> str | None:
        """Hash of the chain of segments as of this log's last entry in it; None where a log has no chain."""

    def keep(self, records: Sequence[Record]) -> None:
        """Append records of one kind: all of them, and durable, when it returns.

        Raises
        ------
        UnfitRecord
            One of them can never be taken.
        LogFailed
            None of them was taken, or that is not known; they may be given again.
        """

    def tidy(self) -> None:
        """Finish the files of runs that crashed; nothing is lost without it."""

    def read(self, kind: type[R], **equal: str | int) -> list[R]:
        """Return records of a kind whose fields have these values, by run and sequence number.

        Raises
        ------
        LogFailed
            It cannot be read.
        """

    def close(self) -> None:
        """Close the log and finish its files."""
