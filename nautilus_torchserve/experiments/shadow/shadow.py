"""Shadow: a challenger gets copies of the requests that the baseline answers, and its answers are only recorded."""

import time
from dataclasses import dataclass, field

from nautilus_torchserve.experiments.lifecycle import check_challenger, stop_split
from nautilus_torchserve.experiments.records import CallTotals, RecordReader
from nautilus_torchserve.experiments.shadow.report import ShadowComparison, ShadowReport, latency_of
from nautilus_torchserve.release.rollout.journal import locked
from nautilus_torchserve.release.rollout.report import Progress, no_progress
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.traffic.records import CallWindow, ShadowAnswer
from nautilus_torchserve.traffic.split import Kind, Split, State
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.user_error import InvalidArgument

PROGRESS_INTERVAL_S = 10.0


@dataclass(frozen=True)
class ShadowSettings:
    """Length and share of a shadow."""

    for_s: float = 600.0
    """Longest time, seconds."""
    answers: int | None = None
    """Rows of the challenger after which it ends earlier."""
    share: float = 1.0
    """Share of the requests that are copied."""
    look_s: float = 1.0
    """Time between two looks into the store, seconds."""
    settle_s: float = 3.0
    """How long routers may take at the end to write what they have: a few of their ``refresh_s``, seconds."""

    def __post_init__(self) -> None:
        if not (self.for_s > 0 and 0 < self.share <= 1 and self.look_s > 0 and self.settle_s >= 0):
            raise InvalidArgument(f"expected for_s and look_s > 0, share in (0, 1] and settle_s >= 0, got {self}")
        if self.answers is not None and self.answers < 1:
            raise InvalidArgument(f"answers: expected at least 1, got {self.answers}")


DEFAULTS = ShadowSettings()


@dataclass
class _ShadowRecords:
    """Records of a shadow so far, read from the store as they come."""

    store: TrafficStore
    split: Split
    comparison: ShadowComparison = field(default_factory=ShadowComparison)
    baseline: CallTotals = field(default_factory=CallTotals)
    challenger: CallTotals = field(default_factory=CallTotals)

    def __post_init__(self) -> None:
        self._reader = RecordReader(self.store, self.split.name)

    def update(self) -> None:
        """Read what routers have written since the last time."""
        self.comparison.add(self._reader.read(ShadowAnswer))
        for window in self._reader.read(CallWindow):
            if window.version == self.split.baseline:
                self.baseline.add(window)
            elif window.version == self.split.challenger:
                self.challenger.add(window)


def shadow(
    target: Target,
    store: TrafficStore,
    model: str,
    challenger: str,
    settings: ShadowSettings = DEFAULTS,
    progress: Progress = no_progress,
) -> ShadowReport:
    """Have routers send a registered version copies of the default version's requests, and compare the answers.

    The challenger's answers are not traded on. Both versions get the same inputs, unlike in a split by instrument. The
    challenger stays registered.

    Parameters
    ----------
    challenger : str
        A version that is registered and READY, and not the default one.
    progress : callable
        Takes lines of progress.

    Returns
    -------
    ShadowReport
        ``ended`` tells whether Ctrl-C, or somebody else, ended the shadow early.

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
        progress(f"{split.name}: {challenger} gets copies of the requests of {baseline}")
        records = _ShadowRecords(store, split)
        try:
            ended = _collect(records, settings, progress)
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            failure = stop_split(store, split)
        time.sleep(settings.settle_s)
        records.update()
    return _report(records, ended + failure, settings, began, time.monotonic() - clock)


def _collect(records: _ShadowRecords, settings: ShadowSettings, progress: Progress) -> str:
    """Collect answers until the time is over, there are enough, or somebody ends the split; return the reason."""
    began = reported = time.monotonic()
    while True:
        time.sleep(settings.look_s)
        records.update()
        now = time.monotonic()
        state = records.store.split(records.split.name).state
        if state is not State.RUNNING:
            return f"somebody ended it as {state}"
        comparison = records.comparison
        if settings.answers is not None and comparison.answers >= settings.answers:
            return "answers"
        if now - began >= settings.for_s:
            return "time"
        if now - reported >= PROGRESS_INTERVAL_S:
            reported = now
            progress(f"{comparison.answers} answers, {comparison.errors.total()} failed")


def _report(records: _ShadowRecords, ended: str, settings: ShadowSettings, began: str, took_s: float) -> ShadowReport:
    split, comparison = records.split, records.comparison
    failed = comparison.errors.total()
    rows = max((counts.total() for counts in records.baseline.outputs.values()), default=0)
    return ShadowReport(
        split=split.name,
        model=split.model,
        baseline=split.baseline,
        challenger=split.challenger,
        ended=ended,
        answers=comparison.answers,
        errors=failed,
        not_copied=max(0, round(settings.share * rows) - comparison.answers - failed),
        commonest_error=comparison.errors.most_common(1)[0][0] if failed else None,
        agreement=comparison.agreement(),
        outputs=comparison.differences(),
        only_one_has=tuple(sorted(comparison.only_one_has)),
        baseline_latency=latency_of(records.baseline),
        challenger_latency=latency_of(records.challenger),
        began=began,
        took_s=took_s,
    )
