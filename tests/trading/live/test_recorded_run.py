"""Requests of a recorded run are matched with their events among the data."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.audit.records import RequestRecord
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.live.parity.recorded_run import LoggedRun, RecordedRun, locate_events

SHIFT = 7_000_000_000_000


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_requests_are_matched_with_their_events_among_those_of_the_same_time(data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.integers(0, 2), min_size=30, max_size=60))
    base = load(None, 6000, 3).between(0, len(gaps))
    times = np.cumsum(np.array(gaps, np.int64)) + 10**18
    trades = replace(base, ts_event=times, ts_init=times)
    first = data.draw(st.integers(0, 10))
    truth = sorted(data.draw(st.sets(st.integers(first, len(gaps) - 1), min_size=12)))
    requests = tuple(_request(trades, row, row - first) for row in truth)
    run = RecordedRun(requests, (), (), (), ())

    logged = LoggedRun(None, run, SHIFT, "", 0, 0)
    positions = locate_events(logged, "trades", trades.ts_event + SHIFT)  # type: ignore[arg-type]

    assert (positions >= 0).all()
    assert (trades.ts_event[positions] + SHIFT == [request.ts_event for request in requests]).all()
    assert (np.diff(positions) == np.diff(truth)).all()
    if len(set(gaps)) == 3 and set(truth) == set(range(first, len(gaps))):
        assert positions.tolist() == truth


def _request(trades: Trades, row: int, question: int) -> RequestRecord:
    return RequestRecord(
        run_id="run",
        seq=question,
        ts_ns=0,
        instrument_id=trades.instrument.instrument_id,
        question=question,
        ts_event=int(trades.ts_event[row]) + SHIFT,
        ts_init=0,
        features=np.zeros(4, np.float32),
        shape=(4,),
        texts=(),
        ages_s=(),
        model="tick",
        url="",
        version="",
        digest="",
        outputs={},
        fate="EXPIRED",
        error="",
        sent_ns=0,
        ended_ns=0,
        latency_ns=0,
        rows=1,
    )
