"""Which version each instrument is with, and which one its next request goes to."""

import threading
from collections.abc import Iterable
from typing import NamedTuple

from nautilus_torchserve.traffic.split import Split
from nautilus_torchserve.wire.errors import RequestError


class Route(NamedTuple):
    """Where a request goes; requests of one route may go together."""

    version: str = ""
    """Asked by its versioned route; empty: the server's default version."""
    split: str = ""
    """Name of the split that it is a part of; empty without one."""
    on_trial: bool = False
    """Whether the version is a split's challenger."""


class Assignment:
    """One model's instruments; safe to use from several threads.

    Parameters
    ----------
    default_version : str
        The server's, as of now.
    """

    def __init__(self, default_version: str) -> None:
        self.split: Split | None = None
        """The running split, as last told."""
        self.default_version = default_version
        """The server's, as last heard."""
        self.heard_of_default = True
        """Whether it was heard since somebody set this to False."""
        self._lock = threading.Lock()
        self._with: dict[str, str] = {}  # instrument -> the version that answered last
        self._withdrawn: set[str] = set()
        self._unfit: dict[str, RequestError] = {}  # version -> why

    def route(self, instrument_id: str, ts_ns: int, held: bool) -> tuple[Route, Route | None]:
        """Where a request goes, and where it should have gone where that is a challenger that is unfit."""
        with self._lock:
            kept = self._with.get(instrument_id)
            if held and kept is not None and kept not in self._withdrawn:
                return _route(kept, self.split), None
            if self.split is None:
                return Route(), None
            wanted, version = self.split.version_for(instrument_id, ts_ns), self._assigned(instrument_id, ts_ns)
            return _route(version, self.split), _route(wanted, self.split) if wanted != version else None

    def leaving(self, instrument_id: str, ts_ns: int) -> bool:
        """Whether an instrument would change version, were it not for its position."""
        with self._lock:
            kept = self._with.get(instrument_id)
            return kept is not None and kept != self._assigned(instrument_id, ts_ns)

    def _assigned(self, instrument_id: str, ts_ns: int) -> str:
        """Whom the instrument belongs to, positions aside."""
        if self.split is None:
            return self.default_version
        version = self.split.version_for(instrument_id, ts_ns)
        return self.split.baseline if version == self.split.challenger and version in self._unfit else version

    def answered(self, route: Route, version: str, instrument_ids: Iterable[str]) -> None:
        """These instruments were answered by this version."""
        with self._lock:
            self._with.update(dict.fromkeys(instrument_ids, version))
        if not route.version:
            self.on_default_version(version)

    def on_default_version(self, version: str) -> None:
        """This is the server's default version."""
        self.default_version, self.heard_of_default = version, True

    def forget(self, version: str) -> None:
        """The server has no such version: no instrument can be kept with it."""
        with self._lock:
            self._with = {instrument_id: kept for instrument_id, kept in self._with.items() if kept != version}

    def inherit(self, other: "Assignment") -> None:
        """Keep each instrument with the version that it has with another server of the model."""
        with other._lock:
            kept, withdrawn = dict(other._with), set(other._withdrawn)
        with self._lock:
            self._with, self._withdrawn = kept, withdrawn

    def follow(self, split: Split | None, withdrawn: str | None) -> None:
        """Take up what is running now.

        Parameters
        ----------
        withdrawn : str, optional
            Challenger of the split before, where it was withdrawn.
        """
        with self._lock:
            if withdrawn is not None:
                self._withdrawn.add(withdrawn)
            if split is not None:
                self._withdrawn.discard(split.challenger)  # on trial once more
            self.split = split

    def mark_unusable(self, version: str, why: RequestError | None) -> bool:
        """This version cannot be asked, or can be; whether that is news."""
        with self._lock:
            before = self._unfit.pop(version, None)
            if why is not None:
                self._unfit[version] = why
            return repr(why) != repr(before)

    def unfit(self, version: str) -> RequestError | None:
        """Why this version cannot be asked."""
        with self._lock:
            return self._unfit.get(version)

    def kept(self) -> set[str]:
        """Versions that an instrument may want to stay with."""
        with self._lock:
            return {*self._with.values()} - self._withdrawn

    def in_use(self) -> list[str]:
        """Versions that an instrument is with, or would be given to."""
        versions = self.kept()
        with self._lock:
            split = self.split
            if split is None:
                versions.add(self.default_version)
            else:
                versions.add(split.baseline)
                if split.share > 0 and split.challenger not in self._unfit:
                    versions.add(split.challenger)
        return sorted(versions)


def _route(version: str, split: Split | None) -> Route:
    if split is None or version not in (split.baseline, split.challenger):
        return Route(version)
    return Route(version, split.name, version == split.challenger)
