"""A/B experiments: two versions serve fixed shares of the traffic, and are compared as often as one likes.

An experiment is a `Split` of `Kind.EXPERIMENT`; its decision rules are the split's ``settings``, fixed when it is
created. Routers follow it, and routers and strategies write its records into the same store, which
`experiments.ab.analysis` reads.
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
    """A plan for an experiment that makes no sense."""


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
    """Return a new experiment; `TrafficStore.start` begins it, and routers follow it from their next refresh on.

    Parameters
    ----------
    share : float
        Share of the instruments or time slices for the challenger, in (0, 1).
    slice_ns : int
        Length of a time slice, nanoseconds; ignored in a split by instrument.
    name : str, optional
        Unique name; it also determines the assignment of instruments or slices.

    Raises
    ------
    BadExperiment
        The plan makes no sense.
    """
    if baseline == challenger:
        raise BadExperiment(f"{model}: expected two versions, got {baseline} twice")
    if not 0 < share < 1:
        raise BadExperiment(f"share: expected more than 0 and less than 100 %, got {100 * share:g} %")
    if slice_ns < 1:
        raise BadExperiment(f"slice: expected more than 0 ns, got {slice_ns}")
    name = name or f"{model}-{challenger}-vs-{baseline}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    return Split(name, model, Kind.EXPERIMENT, baseline, challenger, share, unit, slice_ns, settings=rules.to_json())


def challenger_instruments(experiment: Split, instruments: Sequence[str]) -> list[str]:
    """Return those instruments that a split by instrument assigns to the challenger, positions aside."""
    return [name for name in instruments if experiment.version_for(name, 0) == experiment.challenger]


def concerns(experiment: Split, instruments: Sequence[str]) -> list[str]:
    """Return warnings about an experiment with these instruments.

    Parameters
    ----------
    instruments : sequence of str
        All instruments that are traded; empty where they are not known.
    """
    rules = Rules.from_json(experiment.settings)
    if experiment.unit is Unit.TIME:
        fewer = min(experiment.share, 1 - experiment.share)
        needed_s = rules.least_blocks / fewer * experiment.slice_ns / 1e9
        if needed_s <= 14 * DAY_NS / 1e9:
            return []
        return [
            f"slices of {experiment.slice_ns / 3.6e12:g} h: it takes about {needed_s / 86_400:.0f} days until both "
            f"versions have had the {rules.least_blocks} that a promotion needs; use shorter slices or a share of 50"
        ]
    if len(instruments) == 1:
        return [
            "expected at least two instruments for a split by instrument, got one, which stays with one version: "
            "split by time (--by time)"
        ]
    challengers = len(challenger_instruments(experiment, instruments))
    if instruments and min(challengers, len(instruments) - challengers) < rules.least_instruments:
        return [
            f"{challengers} of {len(instruments)} instruments are with the challenger; a promotion needs "
            f"{rules.least_instruments} with each version, because instruments differ for any model: use a larger "
            "share, or split by time (--by time)"
        ]
    return []


def find_experiment(store: TrafficStore, name: str) -> Split:
    """Return the experiment of this name, running or ended; raises `NoExperiment` where there is none."""
    try:
        split = store.split(name)
    except SplitRefused:
        split = None
    if split is None or split.kind is not Kind.EXPERIMENT:
        raise NoExperiment(f"expected an experiment's name, got {name!r}" + (f", a {split.kind}" if split else ""))
    return split


def experiments(store: TrafficStore, model: str | None = None) -> list[Split]:
    """Return all experiments, or those of a model, the oldest first."""
    return [split for split in store.splits(model) if split.kind is Kind.EXPERIMENT]
