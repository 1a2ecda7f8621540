"""Which headlines go with a bar: the arrays' form and the live one agree, and neither looks ahead."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.features.news_window import NewsWindowConfig, RecentNews, news_before

TIMES = st.lists(st.integers(0, 60), max_size=30).map(sorted)
CONFIGS = st.builds(NewsWindowConfig, max_age_ns=st.integers(1, 70), max_texts=st.integers(1, 6))


def streamed(received: list[int], bars: list[int], config: NewsWindowConfig) -> list[list[int]]:
    """Return the headlines that an actor sends at each bar; those of its time may arrive before or after it."""
    recent: RecentNews[int] = RecentNews(config)
    selected, place = [], 0
    for bar in bars:
        while place < len(received) and received[place] <= bar:
            recent.add(received[place], place)
            place += 1
        selected.append([item for _, item in recent.before(bar)])
    return selected


@given(TIMES, TIMES, CONFIGS)
def test_both_forms_agree(received: list[int], bars: list[int], config: NewsWindowConfig) -> None:
    start, stop = news_before(np.array(received, np.int64), np.array(bars, np.int64), config)

    assert [list(range(a, b)) for a, b in zip(start, stop, strict=True)] == streamed(received, bars, config)


@given(TIMES, TIMES, CONFIGS)
def test_each_included_headline_is_past_young_and_among_the_newest(
    received: list[int], bars: list[int], config: NewsWindowConfig
) -> None:
    expected = [
        [place for place, time in enumerate(received) if time < bar and bar - time <= config.max_age_ns][
            -config.max_texts :
        ]
        for bar in bars
    ]

    assert streamed(received, bars, config) == expected


@pytest.mark.parametrize("setting", ["max_age_ns", "max_texts"])
def test_a_window_of_nothing_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"expected {setting} of at least 1, got 0"):
        NewsWindowConfig(**{setting: 0})
