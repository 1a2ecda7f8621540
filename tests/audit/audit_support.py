"""Records of all kinds, and helpers of the log's tests."""

from typing import Any

import numpy as np

from nautilus_torchserve.audit.records import (
    DecisionRecord,
    FillRecord,
    HaltRecord,
    OrderRecord,
    PlaybackRecord,
    Record,
    RequestRecord,
    SessionRecord,
)

S = 1_000_000_000
START = 1_700_000_000 * S
ORDER = "O-20231114-221320-001-000-1"
_SESSION = {
    "event": "STARTED",
    "wall_ns": START + 7,
    "trader_id": "DESK-001",
    "source": "trades.csv",
    "config_digest": "c0ffee",
    "strategies": "[]",
    "instruments": "[]",
    "packages": {"numpy": "2.0"},
    "dropped": 0,
}
_REQUEST = {
    "instrument_id": "BTCUSDT.BINANCE",
    "question": 32,
    "ts_event": START,
    "ts_init": START + 1,
    "features": np.array([1.5, -0.25, 0.1, 0.9], np.float32),
    "shape": (4,),
    "texts": (),
    "ages_s": (),
    "model": "tick",
    "url": "http://127.0.0.1:8080",
    "version": "1.0",
    "digest": "0123456789abcdef",
    "outputs": {"buy": 0.75, "sell": 0.125, "hold": 0.125},
    "fate": "ANSWERED",
    "error": "",
    "sent_ns": START + 2,
    "ended_ns": START + 4_000_002,
    "latency_ns": 3_900_000,
    "rows": 2,
}
_DECISION = {
    "strategy_id": "TickStrategy-000",
    "instrument_id": "BTCUSDT.BINANCE",
    "model": "tick",
    "version": "1.0",
    "digest": "0123456789abcdef",
    "status": "OK",
    "outputs": {"buy": 0.75, "sell": 0.125, "hold": 0.125},
    "question": 32,
    "ts_event": START,
    "ts_init": START + 4_000_002,
    "feature_ts": START,
    "latency_ns": 3_900_000,
    "split": "",
    "leaving": False,
    "age_ns": 4_000_003,
    "position": "0",
    "side": "BUY",
    "quantity": "0.100",
    "client_order_id": ORDER,
    "why": "buy 0.75 of at least 0.45",
    "bid": "50000.00",
    "ask": "50000.10",
    "last": "50000.10",
}
_ORDER = {
    "strategy_id": "TickStrategy-000",
    "instrument_id": "BTCUSDT.BINANCE",
    "client_order_id": ORDER,
    "venue_order_id": "",
    "ts_event": START,
    "event": "INITIALIZED",
    "order_type": "MARKET",
    "side": "BUY",
    "quantity": "0.100",
    "tags": ("model=tick", "version=1.0"),
    "reason": "",
}
_FILL = {
    "strategy_id": "TickStrategy-000",
    "instrument_id": "BTCUSDT.BINANCE",
    "client_order_id": ORDER,
    "venue_order_id": "V-1",
    "ts_event": START,
    "trade_id": "T-1",
    "position_id": "P-1",
    "side": "BUY",
    "quantity": "0.100",
    "price": "50000.60",
    "fee": "0.25",
    "fee_currency": "USDT",
    "liquidity": "TAKER",
}
_PLAYBACK = {"shift_ns": -5, "source": "trades.csv", "sha256": "feed", "events": 100, "ended": True}
_FIELDS: dict[type[Record], dict[str, Any]] = {
    SessionRecord: _SESSION,
    PlaybackRecord: _PLAYBACK,
    RequestRecord: _REQUEST,
    DecisionRecord: _DECISION,
    OrderRecord: _ORDER,
    FillRecord: _FILL,
    HaltRecord: {"reason": "kill switch"},
}


def make_record(kind: type[Record], seq: int, run_id: str = "run-1", **changes: Any) -> Record:
    """Return a record as a run writes it."""
    return kind(**{"run_id": run_id, "seq": seq, "ts_ns": START + seq, **_FIELDS[kind], **changes})


def comparable(record: Record) -> dict[str, Any]:
    """Return a record as values that compare equal only where all bits are."""
    fields = dict(vars(record))
    if "features" in fields:
        fields["features"] = (str(fields["features"].dtype), fields["features"].tobytes())
    return {"kind": record.kind, **fields}
