"""A/B experiments: two versions answer at a fixed share, and are compared as often as one likes.

An experiment is a `Split` of `Kind.EXPERIMENT`; its decision rules are the split's ``settings``, fixed when it is
created. Routers follow it, strategies and routers keep what came of it in the same store, and whoever may read
the store can analyse it (`experiments.ab.analysis`).
"""

import time
from collections.abc import Sequence

from nautilus_torchserve.experiments.ab.rules import DEFAULT_RULES, Rules
from nautilus_torchserve.traffic.split import DAY_NS, Kind, Split, Unit
from nautilus_torchserve.traffic.store import SplitRefused, TrafficStore
from nautilus_torchserve.user_error import InvalidArgument, UserError


class NoExperiment(UserError, ValueError):
    """There is no such experiment."""


class BadExperiment(InvalidArgument):
    """A plan for an experiment that cannot be meant."""


def plan(
    model: str,
    baseline: str,
    challenger: str,
    *,
    share: float = 0.1,
    unit: Unit = Unit.INSTRUMENT,
    slice_ns: int = DAY_NS,
    rules: Rules = DEFAULT_RULES,
    name: str | None = None,
) -> Split:
    """An experiment; `TrafficStore.start` begins it, and routers follow it from their next refresh on.

    Parameters
    ----------
    share : float
        Of the instruments or time slices, given to the challenger, in (0, 1).
    slice_ns : int
        Length of a time slice, nanoseconds; of no meaning for instruments.
    name : str, optional
        Unique; also decides which instruments or slices are whose.

    Raises
    ------
    BadExperiment
        One that cannot be meant.
    """
    if baseline == challenger:
        raise BadExperiment(f"{model}: two versions expected, was {baseline} twice")
    if not 0 < share < 1:
        raise BadExperiment(f"share: more than 0 and less than 100 % expected, was {100 * share:g} %")
    if slice_ns < 1:
        raise BadExperiment(f"slice: more than 0 ns expected, was {slice_ns}")
    name = name or f"{model}-{challenger}-vs-{baseline}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    return Split(name, model, Kind.EXPERIMENT, baseline, challenger, share, unit, slice_ns, settings=rules.to_json())


def with_challenger(experiment: Split, instruments: Sequence[str]) -> list[str]:
    """Which of these instruments are the challenger's in a split by instrument, positions aside."""
    return [each for each in instruments if experiment.version_for(each, 0) == experiment.challenger]


def concerns(experiment: Split, instruments: Sequence[str]) -> list[str]:
    """What stands against an experiment with these instruments, in words.

    Parameters
    ----------
    instruments : sequence of str
        All that are traded; empty where they are not known.
    """
    rules = Rules.from_json(experiment.settings)
    if experiment.unit is Unit.TIME:
        fewer = min(experiment.share, 1 - experiment.share)
        needed_s = rules.least_blocks / fewer * experiment.slice_ns / 1e9
        if needed_s <= 14 * DAY_NS / 1e9:
            return []
        return [
            f"slices of {experiment.slice_ns / 3.6e12:g} h: it takes some {needed_s / 86_400:.0f} days until both "
            f"versions have had {rules.least_blocks} of them, without which nothing is promoted; take shorter "
            "slices or a share of 50"
        ]
    if len(instruments) == 1:
        return [
            "with one instrument a split by instrument is no experiment: it is with one version for good; split by "
            "time (--by time)"
        ]
    challengers = len(with_challenger(experiment, instruments))
    if instruments and min(challengers, len(instruments) - challengers) < rules.least_instruments:
        return [
            f"{challengers} of {len(instruments)} instruments would be with the challenger; "
            f"{rules.least_instruments} with each version are needed for a promotion, because instruments differ "
            "for any model: take a larger share, or split by time (--by time)"
        ]
    return []


def find_experiment(store: TrafficStore, name: str) -> Split:
    """The experiment of this name, running or ended; raises `NoExperiment` where there is none."""
    try:
        found = store.split(name)
    except SplitRefused:
        found = None
    if found is None or found.kind is not Kind.EXPERIMENT:
        raise NoExperiment(f"an experiment's name expected, was {name!r}" + (f", a {found.kind}" if found else ""))
    return found


def experiments(store: TrafficStore, model: str | None = None) -> list[Split]:
    """All experiments, or those of a model, oldest first."""
    return [split for split in store.splits(model) if split.kind is Kind.EXPERIMENT]
