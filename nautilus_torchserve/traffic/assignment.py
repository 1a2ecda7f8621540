"""The version that each instrument is assigned to, and the route of its next request."""

import threading
from collections.abc import Iterable
from typing import NamedTuple

from nautilus_torchserve.traffic.split import Split
from nautilus_torchserve.wire.errors import RequestError


class Route(NamedTuple):
    """Destination of a request; requests of one route may be sent together."""

    version: str = ""
    """Reached by its versioned route; empty: the server's default version."""
    split: str = ""
    """Name of the split that the request belongs to; empty without one."""
    on_trial: bool = False
    """Whether the version is a split's challenger."""


class Assignment:
    """The instruments of one model; safe to use from several threads.

    Parameters
    ----------
    default_version : str
        The server's default version, as of now.
    """

    def __init__(self, default_version: str) -> None:
        self.split: Split | None = None
        """The running split, as last read."""
        self.default_version = default_version
        """The server's default version, as last seen."""
        self._default_seen = True
        self._lock = threading.Lock()
        self._versions: dict[str, str] = {}  # instrument -> the version that answered last
        self._withdrawn: set[str] = set()
        self._unusable: dict[str, RequestError] = {}  # version -> reason

    def route(self, instrument_id: str, ts_ns: int, has_exposure: bool) -> tuple[Route, Route | None]:
        """Return the route of a request, and the route that it missed because that challenger is unusable."""
        with self._lock:
            current = self._versions.get(instrument_id)
            if has_exposure and current is not None and current not in self._withdrawn:
                return _route(current, self.split), None
            if self.split is None:
                return Route(), None
            wanted, version = self.split.version_for(instrument_id, ts_ns), self._assigned(instrument_id, ts_ns)
            return _route(version, self.split), _route(wanted, self.split) if wanted != version else None

    def pending_version_change(self, instrument_id: str, ts_ns: int) -> bool:
        """Return whether only its position keeps an instrument from changing version."""
        with self._lock:
            current = self._versions.get(instrument_id)
            return current is not None and current != self._assigned(instrument_id, ts_ns)

    def _assigned(self, instrument_id: str, ts_ns: int) -> str:
        """Return the version that an instrument belongs to, positions aside."""
        if self.split is None:
            return self.default_version
        version = self.split.version_for(instrument_id, ts_ns)
        return self.split.baseline if version == self.split.challenger and version in self._unusable else version

    def record_response(self, route: Route, version: str, instrument_ids: Iterable[str]) -> None:
        """Record the version that answered about these instruments."""
        with self._lock:
            self._versions.update(dict.fromkeys(instrument_ids, version))
        if not route.version:
            self.on_default_version(version)

    def on_default_version(self, version: str) -> None:
        """Record the server's default version."""
        self.default_version, self._default_seen = version, True

    def take_default_seen(self) -> bool:
        """Return whether the default version was recorded since the last call."""
        was_seen, self._default_seen = self._default_seen, False
        return was_seen

    def forget(self, version: str) -> None:
        """Release the instruments of a version that the server no longer has."""
        with self._lock:
            self._versions = {name: current for name, current in self._versions.items() if current != version}

    def inherit(self, other: "Assignment") -> None:
        """Keep each instrument with the version that it has at another server of the model."""
        with other._lock:
            versions, withdrawn = dict(other._versions), set(other._withdrawn)
        with self._lock:
            self._versions, self._withdrawn = versions, withdrawn

    def follow(self, split: Split | None, withdrawn: str | None) -> None:
        """Adopt the split that is running now.

        Parameters
        ----------
        withdrawn : str, optional
            Challenger of the previous split, where it was withdrawn.
        """
        with self._lock:
            if withdrawn is not None:
                self._withdrawn.add(withdrawn)
            if split is not None:
                self._withdrawn.discard(split.challenger)  # on trial once more
            self.split = split

    def mark_unusable(self, version: str, reason: RequestError | None) -> bool:
        """Record why a version cannot be used, or with None that it can be; return whether that is a change."""
        with self._lock:
            before = self._unusable.pop(version, None)
            if reason is not None:
                self._unusable[version] = reason
            return repr(reason) != repr(before)

    def unusable_reason(self, version: str) -> RequestError | None:
        """Return why a version cannot be used; None where it can be."""
        with self._lock:
            return self._unusable.get(version)

    def assigned_versions(self) -> set[str]:
        """Return the versions that an instrument may stay with."""
        with self._lock:
            return {*self._versions.values()} - self._withdrawn

    def versions_in_use(self) -> list[str]:
        """Return the versions that an instrument is assigned to, or would be."""
        versions = self.assigned_versions()
        with self._lock:
            split = self.split
            if split is None:
                versions.add(self.default_version)
            else:
                versions.add(split.baseline)
                if split.share > 0 and split.challenger not in self._unusable:
                    versions.add(split.challenger)
        return sorted(versions)


def _route(version: str, split: Split | None) -> Route:
    if split is None or version not in (split.baseline, split.challenger):
        return Route(version)
    return Route(version, split.name, version == split.challenger)
