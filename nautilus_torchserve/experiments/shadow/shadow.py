"""Giving a challenger copies of the traffic: the baseline answers everything, what the challenger says is recorded."""

import time
from dataclasses import dataclass

from nautilus_torchserve.experiments.calls import Calls
from nautilus_torchserve.experiments.lifecycle import check_challenger, stop
from nautilus_torchserve.experiments.shadow.report import Comparison, ShadowReport, latency_of
from nautilus_torchserve.release.rollout.change import Say, say_nothing
from nautilus_torchserve.release.rollout.journal import locked
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.traffic.records import CallWindow, ShadowAnswer
from nautilus_torchserve.traffic.split import Kind, Split, State
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.user_error import InvalidArgument

SAY_EVERY_S = 10.0


@dataclass(frozen=True)
class ShadowSettings:
    """How long a challenger is shadowed."""

    for_s: float = 600.0
    """At most, seconds."""
    answers: int | None = None
    """Rows of the challenger after which it ends earlier."""
    share: float = 1.0
    """Of the requests, that are copied."""
    look_s: float = 1.0
    """Time from look to look, seconds."""
    settle_s: float = 3.0
    """How long routers are given at the end to write what they have: some of their ``refresh_s``, seconds."""

    def __post_init__(self) -> None:
        if not (self.for_s > 0 and 0 < self.share <= 1 and self.look_s > 0 and self.settle_s >= 0):
            raise InvalidArgument(f"for_s and look_s > 0, share in (0, 1] and settle_s >= 0 expected, was {self}")
        if self.answers is not None and self.answers < 1:
            raise InvalidArgument(f"answers: one or more expected, was {self.answers}")


DEFAULTS = ShadowSettings()


@dataclass
class _Heard:
    """What came of a shadow so far, read from the store as it comes."""

    store: TrafficStore
    split: Split
    answers: Comparison
    calls: dict[str, Calls]
    """Version -> its calls."""
    answers_read: int = 0
    windows_read: int = 0

    def look(self) -> None:
        """Read what routers have written since the last look."""
        answers = self.store.read(ShadowAnswer, self.split.name, self.answers_read)
        self.answers_read += len(answers)
        self.answers.add(answers)
        windows = self.store.read(CallWindow, self.split.name, self.windows_read)
        self.windows_read += len(windows)
        for window in windows:
            if window.version in self.calls:
                self.calls[window.version].add(window)


def shadow(
    target: Target,
    store: TrafficStore,
    model: str,
    challenger: str,
    settings: ShadowSettings = DEFAULTS,
    say: Say = say_nothing,
) -> ShadowReport:
    """Have routers send a registered version copies of what the default version is asked, and compare the answers.

    Nobody gets an answer of the challenger. Both versions see the same inputs, which a split by instrument
    cannot offer. The challenger stays registered.

    Parameters
    ----------
    challenger : str
        A version that is registered and READY, and not the default one.
    say : callable
        Is told what goes on, a line at a time.

    Returns
    -------
    ShadowReport
        Also of a shadow that Ctrl-C, or somebody else, ended before its time; ``ended`` says so.

    Raises
    ------
    RolloutRefused, SplitRefused
        Nothing was begun: a rollout or another split of the model is under way, or there is no such challenger.
    StoreFailed, ManagementError
        The store or the server cannot be reached.
    """
    began, clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    with locked(target, model, f"shadow of {challenger}"):
        baseline, _ = check_challenger(target, model, challenger)
        split = store.start(
            Split(
                f"{model}-shadow-{challenger}-{time.time_ns() // 1_000_000}",
                model,
                Kind.SHADOW,
                baseline,
                challenger,
                settings.share,
            )
        )
        say(f"{split.name}: {challenger} gets copies of what {baseline} is asked")
        heard = _Heard(store, split, Comparison(), {baseline: Calls(), challenger: Calls()})
        try:
            ended = _listen(heard, settings, say)
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            left = stop(store, split)
        time.sleep(settings.settle_s)
        heard.look()
    return _report(heard, ended + left, settings, began, time.monotonic() - clock)


def _listen(heard: _Heard, settings: ShadowSettings, say: Say) -> str:
    """Until the time is over, or there are answers enough, or somebody ends the split; why."""
    began = said = time.monotonic()
    while True:
        time.sleep(settings.look_s)
        heard.look()
        now = time.monotonic()
        state = heard.store.split(heard.split.name).state
        if state is not State.RUNNING:
            return f"somebody ended it as {state}"
        if settings.answers is not None and heard.answers.answers >= settings.answers:
            return "answers"
        if now - began >= settings.for_s:
            return "time"
        if now - said >= SAY_EVERY_S:
            said = now
            say(f"{heard.answers.answers} answers, {heard.answers.errors.total()} failed")


def _report(heard: _Heard, ended: str, settings: ShadowSettings, began: str, took_s: float) -> ShadowReport:
    split, compared = heard.split, heard.answers
    before, after = heard.calls[split.baseline], heard.calls[split.challenger]
    failed = compared.errors.total()
    rows = max((counts.total() for counts in before.outputs.values()), default=0)
    return ShadowReport(
        split=split.name,
        model=split.model,
        baseline=split.baseline,
        challenger=split.challenger,
        ended=ended,
        answers=compared.answers,
        errors=failed,
        not_copied=max(0, round(settings.share * rows) - compared.answers - failed),
        commonest_error=compared.errors.most_common(1)[0][0] if failed else None,
        agreement=compared.agreement(),
        outputs=compared.differences(),
        only_one_has=tuple(sorted(compared.only_one_has)),
        baseline_latency=latency_of(before),
        challenger_latency=latency_of(after),
        began=began,
        took_s=took_s,
    )
