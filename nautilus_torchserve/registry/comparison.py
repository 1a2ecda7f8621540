"""Comparison of two registered versions: training, network, metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nautilus_torchserve.registry.record import RegisteredVersion

_OWN_ROWS = ("sha256", "first_ts_event", "last_ts_event")
"""Entries of the training that have rows of their own."""


@dataclass(frozen=True)
class Row:
    """One property of both versions."""

    name: str
    a: str
    b: str
    """Value as text; empty where a version does not have the property."""
    differs: str
    """Empty where both are the same; for numbers, the second less the first."""


@dataclass(frozen=True)
class Comparison:
    """The second of two versions compared with the first."""

    a: RegisteredVersion
    b: RegisteredVersion

    def same(self) -> dict[str, bool]:
        """Return whether both have the same content, features, data, code and network configuration."""
        a, b = self.a, self.b
        return {
            "digest": a.digest == b.digest,
            "feature_schema": a.facts["feature_schema_sha256"] == b.facts["feature_schema_sha256"],
            "training_data": a.training.get("sha256", "") == b.training.get("sha256"),
            "git_commit": a.facts.get("git_commit", "") == b.facts.get("git_commit"),
            "network": a.network == b.network,
        }

    def metrics(self) -> dict[str, dict[str, float | None]]:
        """Return name -> the values of both and their difference; None where a version does not have the metric."""
        a, b = self.a.metrics, self.b.metrics
        return {
            name: {
                "a": a.get(name),
                "b": b.get(name),
                "difference": b[name] - a[name] if name in a and name in b else None,
            }
            for name in dict.fromkeys((*a, *b))
        }

    def rows(self) -> list[Row]:
        """Return all facts, the differences of network and training, and all metrics as text."""
        a, b = self.a, self.b
        return [
            _row("MLflow's number", str(a.number), str(b.number)),
            _row("aliases", ", ".join(a.aliases), ", ".join(b.aliases)),
            _row("registered", a.registered, b.registered),
            _row("digest", a.digest[:12], b.digest[:12]),
            _row("signer", a.signer or "none", b.signer or "none"),
            _row("size, KiB", f"{a.bytes / 1024:.0f}", f"{b.bytes / 1024:.0f}"),
            _row("commit", _commit(a), _commit(b)),
            _row("features", _features(a), _features(b)),
            _row("trained from", *((version.period or ("", ""))[0] for version in (a, b))),
            _row("trained to", *((version.period or ("", ""))[1] for version in (a, b))),
            _row("data", a.training.get("sha256", "")[:12], b.training.get("sha256", "")[:12]),
            *_differing("training", a.training, b.training),
            *_differing("network", a.network, b.network),
            *(_metric(name, **values) for name, values in self.metrics().items()),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison in plain JSON types."""
        return {"a": self.a.as_dict(), "b": self.b.as_dict(), "same": self.same(), "metrics": self.metrics()}


def _row(name: str, a: str, b: str) -> Row:
    return Row(name, a, b, "" if a == b else "differs")


def _differing(group: str, a: Mapping[str, str], b: Mapping[str, str]) -> list[Row]:
    names = [name for name in dict.fromkeys((*a, *b)) if name not in _OWN_ROWS]
    return [_row(f"{group}.{name}", a.get(name, ""), b.get(name, "")) for name in names if a.get(name) != b.get(name)]


def _metric(name: str, a: float | None, b: float | None, difference: float | None) -> Row:
    a_text, b_text = ("" if value is None else f"{value:.6g}" for value in (a, b))
    if difference is None:
        return Row(name, a_text, b_text, "differs")
    return Row(name, a_text, b_text, f"{difference:+.3g}" if difference else "")


def _commit(version: RegisteredVersion) -> str:
    commit, mark, dirty = version.facts.get("git_commit", "unknown").partition("-")
    return commit[:12] + mark + dirty


def _features(version: RegisteredVersion) -> str:
    return f"{version.facts['feature_schema']} {version.facts['feature_schema_sha256'][:12]}"
