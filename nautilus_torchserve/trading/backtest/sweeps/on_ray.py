"""A sweep on a Ray cluster: one on this machine, or one that runs already."""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from nautilus_torchserve.trading.backtest.sweeps.grid import Combination
from nautilus_torchserve.trading.backtest.sweeps.point import Plan, SweepPoint, run_point
from nautilus_torchserve.trading.checks import expect

LOCAL = "local"
"""The address that starts a cluster on this machine."""
_TIMEOUT_S = 5.0


def run_on_ray(
    plan: Plan,
    tried: Sequence[Combination],
    jobs: int,
    address: str,
    on_done: Callable[[int, int], None] | None = None,
) -> list[SweepPoint]:
    """Try combinations, each a task of one CPU; the data are put into the cluster's store once.

    On a cluster of several machines this project must be installed on each, and the model's URL (or the file after
    ``mar:``) must be reachable from there. The server's token goes along with the tasks; a token that the cluster
    itself wants is taken from where Ray looks for it (``RAY_AUTH_TOKEN``).

    Parameters
    ----------
    jobs : int
        CPUs of the cluster that `LOCAL` starts; ignored for another address, where the cluster has its own.
    address : str
        `LOCAL`, or ``HOST:PORT`` of the head of a cluster that this machine is part of.
    on_done : callable, optional
        Called with the number of combinations done and of all.

    Returns
    -------
    list of SweepPoint
        In the order of ``tried``, as `trading.backtest.sweeps.processes.run_in_processes` gives
        them.

    Raises
    ------
    BadSetting
        An address in another form.
    ConnectionError
        There is no cluster at that address.
    """
    if address != LOCAL:
        _probe(address)
    with _cluster(address, jobs):
        shared = ray.put(plan)
        variable = plan.settings.token_env
        token = os.environ.get(variable)
        task = ray.remote(num_cpus=1)(_try)
        references = [task.remote(shared, combination, variable, token) for combination in tried]
        waiting = list(references)
        while waiting:
            _, waiting = ray.wait(waiting)
            if on_done is not None:
                on_done(len(references) - len(waiting), len(references))
        return [_point(reference, combination) for reference, combination in zip(references, tried, strict=True)]


def _probe(address: str) -> None:
    """Refuse an address without a listener: Ray itself would retry for ten minutes."""
    host, _, port = address.rpartition(":")
    expect(bool(host and port.isdecimal() and "/" not in host), f"Ray address local or HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT_S).close()
    except OSError as error:
        raise ConnectionError(f"{address}: expected the head of a Ray cluster, got {error}") from error


@contextmanager
def _cluster(address: str, jobs: int) -> Iterator[None]:
    """Connect while the block runs; a cluster started here ends with it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports usage statistics otherwise
    own: dict[str, Any] = {"num_cpus": jobs, "include_dashboard": False} if address == LOCAL else {}
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    try:
        yield
    finally:
        ray.shutdown()


def _point(reference: "ray.ObjectRef[SweepPoint]", combination: Combination) -> SweepPoint:
    try:
        return ray.get(reference)
    except RayError as error:  # a task that raised, or whose process died
        return SweepPoint(combination, error=f"{type(error).__name__}: {error}")


def _try(plan: Plan, combination: Combination, variable: str, token: str | None) -> SweepPoint:
    if token is not None:
        os.environ[variable] = token
    return run_point(plan, combination)
