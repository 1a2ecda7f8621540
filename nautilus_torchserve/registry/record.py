"""Record of a registered version: an archive's description as tags that MLflow shows and searches."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # MLflow takes more than a second to import
    from mlflow.entities.model_registry import ModelVersion

STAGING, PRODUCTION, ARCHIVED = ALIASES = ("staging", "production", "archived")
"""Aliases of a version; one version is staging, one production, any number are archived."""
_GROUPS = ("training", "network", "metrics")
"""Parts of ``model.json`` with one tag for each entry: ``metrics.accuracy``."""
_FACTS = ("git_commit", "torch", "seed")


@dataclass(frozen=True)
class RegisteredVersion:
    """One registered version of a model."""

    model: str
    """Name of the model."""
    version: str
    """TorchServe's version, which is in the archive."""
    number: int
    """MLflow's own number of it: 1, 2, 3."""
    digest: str
    """Content digest of the archive."""
    signer: str | None
    """Name of the key that signed it; None: it was registered without a signature."""
    bytes: int
    """Size of the archive."""
    run_id: str
    """MLflow's run that holds the archive: the one that trained it where that is known, else one of its own."""
    archive: str
    """Path of the archive among that run's files."""
    registered: str
    """Time of registration, ISO 8601, UTC."""
    aliases: tuple[str, ...]
    """Its aliases, of `ALIASES`."""
    archived: str | None
    """Time since when it is archived, ISO 8601, UTC."""
    facts: dict[str, str]
    """``git_commit``, ``torch``, ``seed``, ``feature_schema``, ``feature_schema_sha256``, ``edge``."""
    training: dict[str, str]
    """``sha256`` of the data, their source and period, and other entries of the fit."""
    network: dict[str, str]
    """``module`` and configuration."""
    metrics: dict[str, float]
    """Dotted name -> number: ``held_out.accuracy``."""

    @property
    def main_metrics(self) -> dict[str, float]:
        """At most four of the metrics: those with the shortest paths."""
        shortest = min((name.count(".") for name in self.metrics), default=0)
        return dict([(name, value) for name, value in self.metrics.items() if name.count(".") == shortest][:4])

    @property
    def period(self) -> tuple[str, str] | None:
        """The first and the last event of the training data, ISO 8601, UTC; None where they are not known."""
        try:
            first, last = (int(self.training[name]) for name in ("first_ts_event", "last_ts_event"))
            return _iso(first // 10**9), _iso(last // 10**9)
        except (KeyError, ValueError, OverflowError, OSError):
            return None

    def as_dict(self) -> dict[str, Any]:
        """Return the version in plain JSON types."""
        return {**asdict(self), "period": self.period}


def archive_tags(description: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags for an archive's ``model.json``."""
    from nautilus_torchserve.inference.model_files import read_schema  # imports torch, which only `Registry.add` needs

    schema = read_schema(dict(description))
    tags = {name: str(description[name]) for name in _FACTS if description.get(name) is not None}
    tags |= {"feature_schema": schema.name, "feature_schema_sha256": schema.sha256}
    metrics = description.get("metrics")
    if isinstance(metrics, dict) and metrics.get("edge"):
        tags["edge"] = str(metrics["edge"])
    for group in _GROUPS:
        for name, value in _flat(description.get(group, {})):
            if group != "metrics":
                tags[f"{group}.{name}"] = value if isinstance(value, str) else json.dumps(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                tags[f"{group}.{name}"] = repr(float(value))
    return {re.sub(r"[^\w.\- /:]", "_", name): value for name, value in tags.items()}


def read_version(stored: "ModelVersion", aliases: tuple[str, ...]) -> RegisteredVersion | None:
    """Read what `archive_tags` and the registry wrote; None for a version that was not registered by this project."""
    tags = dict(stored.tags)
    if not {"version", "digest", "bytes", "archive"} <= tags.keys():
        return None
    archived = tags.pop(ARCHIVED, None)
    all_aliases = {*aliases, *([ARCHIVED] if archived else [])}
    grouped = {
        group: {name.removeprefix(f"{group}."): tags.pop(name) for name in sorted(tags) if name.startswith(f"{group}.")}
        for group in _GROUPS
    }
    return RegisteredVersion(
        model=stored.name,
        version=tags.pop("version"),
        number=int(stored.version),
        digest=tags.pop("digest"),
        signer=tags.pop("signer", None),
        bytes=int(tags.pop("bytes")),
        run_id=stored.run_id or "",
        archive=tags.pop("archive"),
        registered=_iso(stored.creation_timestamp // 1000),
        aliases=tuple(alias for alias in ALIASES if alias in all_aliases),
        archived=archived,
        facts=tags,
        training=grouped["training"],
        network=grouped["network"],
        metrics={name: float(value) for name, value in grouped["metrics"].items()},
    )


def now() -> str:
    """Return the time, ISO 8601, UTC, in microseconds: versions may be archived one right after the other."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _iso(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield leaves by dotted names. Entries of a list go by their own name, if any: ``per_class.negative.f1``."""
    if isinstance(value, Mapping):
        entries = {str(name): inner for name, inner in value.items()}
    elif isinstance(value, list) and not all(isinstance(inner, str) for inner in value):
        entries = {_own_name(inner) or str(index): inner for index, inner in enumerate(value)}
    else:
        if value is not None:
            yield path, value
        return
    for name, inner in entries.items():
        yield from _flat(inner, f"{path}.{name}" if path else name)


def _own_name(entry: Any) -> str | None:
    texts = (value for value in entry.values() if isinstance(value, str)) if isinstance(entry, Mapping) else iter(())
    return next(texts, None)
