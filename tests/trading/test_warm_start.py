"""A warm start loses nothing and counts nothing twice; what is due leaves by its time."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.trading.backtest.delay_queue import DelayQueue
from nautilus_torchserve.trading.warm_start import WarmStart


@dataclass
class TimedItem:
    ts_init: int
    number: int


@given(st.data())
def test_history_and_stream_make_the_whole_whatever_they_share(data: st.DataObject) -> None:
    times = sorted(data.draw(st.lists(st.integers(0, 20), max_size=30)))
    whole = [TimedItem(ts_init, number) for number, ts_init in enumerate(times)]
    streamed_from = data.draw(st.integers(0, len(whole)))
    history_until = data.draw(st.integers(streamed_from, len(whole)))  # requested after the stream began
    arrivals = [("past", event) for event in whole[:history_until]]
    for event in whole[streamed_from:]:
        arrivals.insert(data.draw(st.integers(0, len(arrivals))), ("hold", event))
    held = iter(whole[streamed_from:])  # in order, however they fell among the history
    warm_start: WarmStart[Any] = WarmStart(lambda event: event.number)

    for kind, event in arrivals:
        if kind == "past":
            warm_start.add_history(event)
        else:
            warm_start.hold(next(held))

    assert list(warm_start.end()) == whole
    assert warm_start.is_over


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2))))
def test_histories_of_several_instruments_are_merged_in_time(events: list[tuple[int, int]]) -> None:
    whole = [TimedItem(ts_init, number) for number, (ts_init, _) in enumerate(sorted(events))]
    instruments = [instrument for _, instrument in sorted(events)]
    warm_start: WarmStart[Any] = WarmStart(lambda event: event.number)

    for one in (2, 0, 1):  # each is answered at once, in any order
        for event, instrument in zip(whole, instruments, strict=True):
            if instrument == one:
                warm_start.add_history(event)

    assert [event.ts_init for event in warm_start.end()] == [event.ts_init for event in whole]


def test_history_that_comes_after_the_end_is_left_out() -> None:
    warm_start: WarmStart[Any] = WarmStart(lambda event: event.number)
    early, late = TimedItem(1, 1), TimedItem(2, 2)
    warm_start.hold(late)

    first = list(warm_start.end())
    warm_start.add_history(early)

    assert (first, list(warm_start.end())) == ([late], [])


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_due_items_are_released_by_time_and_then_by_arrival(times: list[int], looks: list[int]) -> None:
    due: DelayQueue[TimedItem] = DelayQueue()
    everything = [TimedItem(ts_init, number) for number, ts_init in enumerate(times)]
    for item in everything:
        due.add(item)

    released = [item for now in [*sorted(looks), 9] for item in due.until(now)]

    assert released == sorted(everything, key=lambda item: item.ts_init)
    assert len(due) == 0
