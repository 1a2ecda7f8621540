"""A warm start loses nothing and counts nothing twice; what is due leaves by its time."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.trading.backtest.delay_queue import DelayQueue
from nautilus_torchserve.trading.warm_start import WarmStart


@given(st.data())
def test_history_and_stream_make_the_whole_whatever_they_share(data: st.DataObject) -> None:
    whole = list(range(data.draw(st.integers(0, 30))))
    streamed_from = data.draw(st.integers(0, len(whole)))
    history_until = data.draw(st.integers(streamed_from, len(whole)))  # requested after the stream began
    arrivals = [("past", event) for event in whole[:history_until]]
    for event in whole[streamed_from:]:
        arrivals.insert(data.draw(st.integers(0, len(arrivals))), ("hold", event))
    held = iter(whole[streamed_from:])  # in order, however they fell among the history
    warm_start: WarmStart[int] = WarmStart(lambda event: event)

    for kind, event in arrivals:
        if kind == "past":
            warm_start.add_history(event)
        else:
            warm_start.hold(next(held))

    assert list(warm_start.end()) == whole
    assert warm_start.is_over


def test_history_that_comes_after_the_end_is_left_out() -> None:
    warm_start: WarmStart[int] = WarmStart(lambda event: event)
    warm_start.hold(2)

    first = list(warm_start.end())
    warm_start.add_history(1)

    assert (first, list(warm_start.end())) == ([2], [])


@dataclass
class TimedItem:
    ts_init: int
    number: int


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_due_items_are_released_by_time_and_then_by_arrival(times: list[int], looks: list[int]) -> None:
    due: DelayQueue[TimedItem] = DelayQueue()
    everything = [TimedItem(ts_init, number) for number, ts_init in enumerate(times)]
    for item in everything:
        due.add(item)

    released = [item for now in [*sorted(looks), 9] for item in due.until(now)]

    assert released == sorted(everything, key=lambda item: item.ts_init)
    assert len(due) == 0
