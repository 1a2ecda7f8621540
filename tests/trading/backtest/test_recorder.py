"""A log gives back what it was given, in columns."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.backtest.recorder import PredictionLog
from nautilus_torchserve.trading.prediction import Prediction

INT64 = st.integers(0, 2**63 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False)


@given(st.lists(st.tuples(INT64, INT64, INT64, INT64, FLOAT32, FLOAT32), max_size=8))
def test_columns_hold_the_added_predictions(rows: list[tuple]) -> None:
    log = PredictionLog(("sell", "buy"))
    for ts_event, ts_init, latency_ns, number, buy, sell in rows:
        log.add(
            Prediction(
                ts_event=ts_event,
                ts_init=ts_init,
                instrument_id=InstrumentId.from_str("BTCUSDT.BINANCE"),
                model="tick",
                version="1.0",
                archive_digest="0123456789abcdef",
                outputs={"buy": buy, "sell": sell},
                feature_ts=ts_event,
                latency_ns=latency_ns,
                number=number,
            )
        )

    table = log.table()

    assert list(table) == ["ts_event", "ts_init", "latency_ns", "sell", "buy"]
    expected = [[row[at] for row in rows] for at in (0, 1, 2, 5, 4)]
    assert [table[name].tolist() for name in table] == expected
    assert log.numbers().tolist() == [row[3] for row in rows]
    assert table["buy"].dtype == np.float32
