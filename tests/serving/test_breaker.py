"""The circuit breaker: when a server gets requests, when it is probed, and how long it is left alone."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nautilus_torchserve.serving.client.breaker import Breaker, BreakerState

TO_OPEN, FIRST_NS, MOST_NS = 3, 100, 500
WAITS_NS = (100, 200, 400, 500)
"""Of the first opening since all was well, of the next one, ...; the last holds for all after it."""


class Ticking:
    """A clock that is set by hand."""

    now_ns = 1_000

    def __call__(self) -> int:
        return self.now_ns


def breaker(clock: Ticking) -> Breaker:
    return Breaker(TO_OPEN, FIRST_NS, MOST_NS, clock)


def closed(clock: Ticking) -> Breaker:
    made = breaker(clock)
    made.probed(is_well=True)
    made.succeeded()
    return made


def test_begins_open_with_a_probe_due_at_once() -> None:
    made = breaker(Ticking())

    assert not made.lets_through
    assert made.probe_in_ns == 0


def test_a_probe_that_works_lets_the_next_request_decide() -> None:
    well, ill = breaker(Ticking()), breaker(Ticking())
    for half_open in (well, ill):
        half_open.probed(is_well=True)
        assert half_open.state is BreakerState.HALF_OPEN

    well.succeeded()
    ill.failed()

    assert well.state is BreakerState.CLOSED
    assert ill.state is BreakerState.OPEN


def test_a_success_between_failures_starts_the_count_anew() -> None:
    made = closed(Ticking())

    for _ in range(10):
        made.failed()
        made.failed()
        made.succeeded()

    assert made.state is BreakerState.CLOSED
    for _ in range(TO_OPEN):
        made.failed()
    assert made.state is BreakerState.OPEN


def test_probes_come_later_each_time_until_the_longest_wait() -> None:
    clock = Ticking()
    made = closed(clock)
    made.trip()

    waits = []
    for _ in range(6):
        wait_ns = made.probe_in_ns
        assert wait_ns is not None
        waits.append(wait_ns)
        clock.now_ns += wait_ns
        made.probed(is_well=False)

    assert waits == [100, 200, 400, 500, 500, 500]


def test_a_response_to_a_request_sent_before_it_opened_does_not_close_it() -> None:
    made = closed(Ticking())
    made.trip()

    made.succeeded()

    assert made.state is BreakerState.OPEN


class AnyOrder(RuleBasedStateMachine):
    """Events in any order, against a list of outcomes that is evaluated anew after every one."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Ticking()
        self.breaker = closed(self.clock)
        self.failures = 0
        self.half_open = False
        self.opened_ns: int | None = None
        self.openings = 0

    def _open(self) -> None:
        self.opened_ns, self.failures, self.half_open = self.clock.now_ns, 0, False
        self.openings += 1

    @rule(ns=st.integers(0, 300))
    def wait(self, ns: int) -> None:
        self.clock.now_ns += ns

    @rule()
    def succeed(self) -> None:
        self.breaker.succeeded()
        if self.opened_ns is None:
            self.failures, self.openings, self.half_open = 0, 0, False

    @rule()
    def fail(self) -> None:
        self.breaker.failed()
        if self.opened_ns is None:
            self.failures += 1
            if self.half_open or self.failures == TO_OPEN:
                self._open()

    @rule()
    def trip(self) -> None:
        self.breaker.trip()
        if self.opened_ns is None:
            self._open()

    @precondition(lambda self: self.breaker.probe_in_ns == 0)
    @rule(is_well=st.booleans())
    def probe(self, is_well: bool) -> None:
        self.breaker.probed(is_well)
        if is_well:
            self.opened_ns, self.half_open = None, True
        else:
            self._open()

    @invariant()
    def lets_through_unless_opened(self) -> None:
        assert self.breaker.lets_through == (self.opened_ns is None)
        assert (self.breaker.state is BreakerState.HALF_OPEN) == self.half_open

    @invariant()
    def is_probed_after_the_wait_that_its_openings_make(self) -> None:
        if self.opened_ns is None:
            assert self.breaker.probe_in_ns is None
        else:
            wait_ns = WAITS_NS[min(self.openings, len(WAITS_NS)) - 1]
            assert self.breaker.probe_in_ns == max(0, self.opened_ns + wait_ns - self.clock.now_ns)


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
