"""Two registered versions side by side: what they were trained on, what they are, how well they did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nautilus_torchserve.registry.record import RegisteredVersion

_SHOWN_ANYWAY = ("sha256", "first_ts_event", "last_ts_event")
"""Of the training; in rows of their own."""


@dataclass(frozen=True)
class Row:
    """One thing that both have."""

    name: str
    a: str
    b: str
    """As text; empty where this version says nothing about it."""
    differs: str
    """Empty where both are the same; of numbers, how much more the second has."""


@dataclass(frozen=True)
class Comparison:
    """The second of two versions, seen from the first."""

    a: RegisteredVersion
    b: RegisteredVersion

    def same(self) -> dict[str, bool]:
        """Whether both are of the same content, features, data, code and network configuration."""
        a, b = self.a, self.b
        return {
            "digest": a.digest == b.digest,
            "feature_schema": a.facts["feature_schema_sha256"] == b.facts["feature_schema_sha256"],
            "training_data": a.training.get("sha256", "") == b.training.get("sha256"),
            "git_commit": a.facts.get("git_commit", "") == b.facts.get("git_commit"),
            "network": a.network == b.network,
        }

    def metrics(self) -> dict[str, dict[str, float | None]]:
        """Name -> the values of both and their difference; None where a version does not have the metric."""
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
        """For people: all facts, of the network and of the training what differs, all metrics."""
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
            _row("trained from", *((each.period or ("", ""))[0] for each in (a, b))),
            _row("trained to", *((each.period or ("", ""))[1] for each in (a, b))),
            _row("data", a.training.get("sha256", "")[:12], b.training.get("sha256", "")[:12]),
            *_differing("training", a.training, b.training),
            *_differing("network", a.network, b.network),
            *(_metric(name, **values) for name, values in self.metrics().items()),
        ]

    def as_dict(self) -> dict[str, Any]:
        """In plain JSON types."""
        return {"a": self.a.as_dict(), "b": self.b.as_dict(), "same": self.same(), "metrics": self.metrics()}


def _row(name: str, a: str, b: str) -> Row:
    return Row(name, a, b, "" if a == b else "differs")


def _differing(group: str, a: Mapping[str, str], b: Mapping[str, str]) -> list[Row]:
    names = [name for name in dict.fromkeys((*a, *b)) if name not in _SHOWN_ANYWAY]
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
