"""What both versions of a canary do, read from the traffic store as it comes."""

from dataclasses import dataclass, field

from nautilus_torchserve.experiments.calls import Calls
from nautilus_torchserve.traffic.records import CallWindow
from nautilus_torchserve.traffic.split import Split
from nautilus_torchserve.traffic.store import TrafficStore


@dataclass
class CanaryCalls:
    """Both versions' calls in the present step, and the baseline's in all of them."""

    store: TrafficStore
    split: Split
    baseline: Calls = field(default_factory=Calls)
    """In the present step."""
    challenger: Calls = field(default_factory=Calls)
    """In the present step."""
    baseline_so_far: Calls = field(default_factory=Calls)
    """Since the canary began."""
    since_ns: int = 0
    """When the present step began, Unix nanoseconds."""
    read: int = 0
    """Windows read."""

    def begin_step(self, since_ns: int) -> None:
        """From now on only windows that begin later count: earlier ones belong to another share."""
        self.baseline, self.challenger, self.since_ns = Calls(), Calls(), since_ns

    def look(self) -> None:
        """Read what routers have written since the last look."""
        windows = self.store.read(CallWindow, self.split.name, self.read)
        self.read += len(windows)
        for window in windows:
            in_step = window.since_ns >= self.since_ns
            if window.version == self.split.baseline:
                self.baseline_so_far.add(window)
                if in_step:
                    self.baseline.add(window)
            elif window.version == self.split.challenger and in_step:
                self.challenger.add(window)
