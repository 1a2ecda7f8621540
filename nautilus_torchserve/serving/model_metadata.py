"""Metadata of a served model: its description of itself, checked once, where it is first read.

A worker writes the description as JSON (``describe_handle`` of its handler) and a client reads it into `ModelMetadata`.
The worker has no struct for it: its code travels in the archive, which would need msgspec on every server, and a client
reads descriptions by archives of earlier releases and by users' own handlers all the same.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from nautilus_torchserve.features.news_window import NewsWindowConfig
from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.wire.body import excerpt
from nautilus_torchserve.wire.errors import IncompleteMetadata
from nautilus_torchserve.wire.names import is_version
from nautilus_torchserve.wire.output_constraints import (
    NON_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    RETURN_BPS,
    OutputConstraints,
)

MAX_OUTPUTS = 1024
"""Most outputs of a model."""
INPUT_KINDS = ("rows", "texts", "windows and texts")
"""Values of ``inputs``."""
HOW_TO_DESCRIBE = (
    "a model that is traded on answers a request with the header 'describe: True' with a JSON object, "
    "or its spec has a mapping, see docs/archives.md"
)
UNKNOWN_DIGEST = "unknown"
"""Digest of an archive of another make, whose server does not say what it serves."""
OUTCOMES_PURPOSE = "the outcome of a prediction is scored by it, leave --traffic out to run without"
Check = tuple[str, Callable[[Any], bool]]
"""Description of the values that a field can have, and whether a value is one of them."""


def is_digest(value: object) -> bool:
    """Return whether a value can be a content digest, which goes into messages and orders' tags."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._+~:-]{1,128}", value) is not None


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= MAX_OUTPUTS
        and all(isinstance(name, str) and name.isprintable() and 1 <= len(name) <= 128 for name in value)
        and len(set(value)) == len(value)
    )


def _is_sketch(value: Any) -> bool:
    try:
        size = len(base64.b64decode(value, validate=True)) if isinstance(value, str) else 0
    except ValueError:
        return False
    return size > 0 and size % 6 == 0


TEXT: Check = "a text", lambda value: isinstance(value, str)
COUNT: Check = "a positive integer", lambda value: type(value) is int and value > 0
TIME: Check = "Unix nanoseconds as an integer", lambda value: type(value) is int and 0 <= value < 2**63
NUMBER: Check = "a number of at least 0", lambda value: type(value) in (int, float) and 0 <= value < float("inf")
FLAG: Check = "true or false", lambda value: type(value) is bool
NAMES: Check = f"a list of 1 to {MAX_OUTPUTS} different names", _is_names
DIGEST: Check = "a text of 1 to 128 letters and digits", is_digest
VERSION: Check = "a version of 1 to 100 letters, digits and _ . -", is_version
SKETCH: Check = "base64 of pairs of 4 and 2 bytes", _is_sketch
INPUT_KIND: Check = f"one of {', '.join(INPUT_KINDS)}", lambda value: value in INPUT_KINDS
OBJECT: Check = "an object", lambda value: isinstance(value, dict)
LIST: Check = "a list", lambda value: isinstance(value, list)
COUNTS: Check = (
    "a list of positive integers",
    lambda value: isinstance(value, list) and all(type(count) is int and count > 0 for count in value),
)

REQUIRED: Mapping[str, Check] = {
    "version": VERSION,
    "archive_digest": DIGEST,
    "outputs": NAMES,
    "feature_schema": OBJECT,
    "feature_schema_sha256": DIGEST,
}
OPTIONAL: Mapping[str, Check] = {"inputs": INPUT_KIND, "explained_outputs": LIST}
NULLABLE: Mapping[str, Check] = {
    "model": TEXT,
    "batch_invariant": FLAG,
    "tile_rows": COUNTS,
    "device": TEXT,
    "git_commit": TEXT,
}
"""Fields that may be null, which is the same as absent."""
FIT: Mapping[str, Check] = {
    "source": TEXT,
    "sha256": TEXT,
    "instrument_id": TEXT,
    "first_ts_event": TIME,
    "last_ts_event": TIME,
}
SECTIONS: Mapping[str, Mapping[str, Check]] = {
    "training": FIT,
    "label": {"horizon": COUNT, "cost_bps": NUMBER, "horizon_bars": COUNT},
    "bars": {"interval_ns": COUNT, "max_gap_ns": COUNT, "indicators": FLAG},
    "news": {"max_age_ns": COUNT, "max_texts": COUNT},
    "metrics": {"edge": TEXT},
}
"""Objects of ``model.json`` that may be absent or null, and the checks of their fields, each of which may be absent."""
_TICK, _PRICE = ("buy", "sell", "hold"), ("price", "return_bps", "sigma_bps", "confidence")
KNOWN_OUTPUTS: Mapping[tuple[str, ...], OutputConstraints] = {
    _TICK: OutputConstraints(dict.fromkeys(_TICK, PROBABILITY), (_TICK,)),
    _PRICE: OutputConstraints(dict(zip(_PRICE, (POSITIVE, RETURN_BPS, NON_NEGATIVE, PROBABILITY), strict=True))),
}
"""Constraints of outputs of these names in descriptions without ``output_constraints``, as of earlier releases."""


class FitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Data that one fit of a model saw, see `market.price_sketch.fit_record`; a field that is not recorded is None."""

    source: str | None = None
    """File, folder or simulator."""
    sha256: str | None = None
    """Hash of all data, as they were read."""
    instrument_id: str | None = None
    """Name of the instrument, ``BTCUSDT.BINANCE``."""
    first_ts_event: int | None = None
    """Time of the first event (Unix nanoseconds)."""
    last_ts_event: int | None = None
    """Time of the last event (Unix nanoseconds)."""
    prices: str | None = None
    """Sketch of the prices, by which they are recognised under any name."""


class BarWindows(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a model's windows of bars."""

    interval_ns: int
    """Length of a bar (nanoseconds)."""
    max_gap_ns: int
    """Longest time between two bars of one window (nanoseconds)."""
    indicators: bool
    """Whether the columns include indicators."""


class MoveLabel(msgspec.Struct, frozen=True, kw_only=True):
    """Moves that a classifier of ticks was trained to predict."""

    horizon: int
    """Trades ahead."""
    cost_bps: float
    """Smallest move that is worth trading (basis points)."""


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata of one version of a model: ``model.json`` of its archive, and what its worker adds."""

    model: str
    """Name that it was built under."""
    version: str
    """Registered version."""
    archive_digest: str
    """Content digest of the archive."""
    inputs: str
    """Content of a request, one of `INPUT_KINDS`; ``rows`` where the description does not say."""
    outputs: tuple[str, ...]
    """Names, in the order of the columns of a response."""
    output_constraints: OutputConstraints
    """Ranges and sums that outputs keep to; those of `KNOWN_OUTPUTS` where none are declared."""
    explained_outputs: tuple[str, ...]
    """Outputs that can be explained."""
    feature_schema: FeatureSchema
    """Features that it was trained on."""
    feature_schema_sha256: str
    """Hash of the feature schema as the worker computed it."""
    batch_invariant: bool
    """Whether a row's outputs have the same bits in every batch."""
    tile_rows: tuple[int, ...]
    """Sizes of the tiles that it computes in."""
    device: str | None
    """Device of the worker: ``cpu``, ``cuda:0``."""
    git_commit: str | None
    """Commit that it was trained at."""
    training: FitRecord
    """Data of the (first) fit."""
    fits: tuple[FitRecord, ...]
    """Data of all fits, of which an ensemble has several; empty in archives of earlier releases."""
    move_label: MoveLabel | None
    """``label`` of a classifier of ticks."""
    horizon_bars: int | None
    """``label.horizon_bars``: bars ahead that a model of bars forecasts."""
    bars: BarWindows | None
    """Windows of bars; None where ``model.json`` describes none, or not all about them."""
    news: NewsWindowConfig | None
    """Headlines that go with a window of bars; None where ``model.json`` describes none, or not all about them."""
    edge: str | None
    """``metrics.edge``: result of the evaluation, in one sentence."""
    max_rows: int | None = None
    """Most rows that a client should give to one call; None: any number. A model of another make answers one."""
    document: dict[str, Any]
    """The whole description, in plain JSON types."""

    @classmethod
    def from_dict(cls, document: object) -> "ModelMetadata":
        """Check a model's description of itself and read it.

        Raises
        ------
        ValueError
            It is no description, or a field is missing or of the wrong type.
        """
        if not isinstance(document, dict):
            raise ValueError(f"the model does not describe itself, got {excerpt(document)}: {HOW_TO_DESCRIBE}")
        missing = [name for name in REQUIRED if name not in document]
        if missing:
            raise ValueError(f"the model does not describe itself, got no {', '.join(missing)}: {HOW_TO_DESCRIBE}")
        for name, check in {**REQUIRED, **OPTIONAL}.items():
            _check_field(document, name, check)
        facts = {name: fact for name, fact in document.items() if fact is not None or name in OPTIONAL}
        for name, check in NULLABLE.items():
            _check_field(facts, name, check)
        schema = FeatureSchema.from_dict(document["feature_schema"])
        for name, checks in SECTIONS.items():
            _check_field(facts, name, OBJECT)
            for field, check in checks.items():
                _check_field(facts.get(name, {}), field, check, f"{name}.")
        fits = document.get("fits", [])
        _check_fits(fits)
        outputs = tuple(document["outputs"])
        undeclared = KNOWN_OUTPUTS.get(outputs, OutputConstraints()).to_dict()
        label, bars, news = (facts.get(name, {}) for name in ("label", "bars", "news"))
        return cls(
            model=facts.get("model", "the model"),
            version=document["version"],
            archive_digest=document["archive_digest"],
            inputs=facts.get("inputs", "rows"),
            outputs=outputs,
            output_constraints=OutputConstraints.from_dict(document.get("output_constraints", undeclared), outputs),
            explained_outputs=tuple(map(str, facts.get("explained_outputs", ()))),
            feature_schema=schema,
            feature_schema_sha256=document["feature_schema_sha256"],
            batch_invariant=facts.get("batch_invariant", False),
            tile_rows=tuple(facts.get("tile_rows", ())),
            device=facts.get("device"),
            git_commit=facts.get("git_commit"),
            training=_fit_record(facts.get("training", {})),
            fits=tuple(map(_fit_record, fits)),
            move_label=_complete(MoveLabel, label),
            horizon_bars=label.get("horizon_bars"),
            bars=_complete(BarWindows, bars),
            news=NewsWindowConfig(**_part(news, _NEWS)) if news.keys() >= set(_NEWS) else None,
            edge=facts.get("metrics", {}).get("edge"),
            document=document,
        )

    @property
    def takes_bars(self) -> bool:
        """Whether it looks at windows of bars, even if ``model.json`` does not say all about them."""
        return self.document.get("bars") is not None

    @property
    def takes_news(self) -> bool:
        """Whether it reads news, even if ``model.json`` does not say all about them."""
        return self.document.get("news") is not None

    @property
    def fit_records(self) -> tuple[FitRecord, ...]:
        """Data of all fits; an archive of an earlier release has one, and an empty one where it does not say."""
        return self.fits or (self.training,)

    def require_bars(self) -> BarWindows:
        """Return `bars`, for a caller that cannot do without.

        Raises
        ------
        IncompleteMetadata
            ``model.json`` does not say all about them.
        """
        if self.bars is None:
            raise self._incomplete("bars", BarWindows.__struct_fields__, "it says how its windows of bars were made")
        return self.bars

    def require_news(self) -> NewsWindowConfig:
        """Return `news`; raises as `require_bars`."""
        if self.news is None:
            raise self._incomplete("news", _NEWS, "it says which headlines count")
        return self.news

    def require_move_label(self, purpose: str) -> MoveLabel:
        """Return `move_label`, for a purpose that the message of `IncompleteMetadata` states with its remedy."""
        if self.move_label is None:
            raise self._incomplete("label", MoveLabel.__struct_fields__, purpose)
        return self.move_label

    def require_horizon_bars(self, purpose: str) -> int:
        """Return `horizon_bars`, for a purpose that the message of `IncompleteMetadata` states with its remedy."""
        if self.horizon_bars is None:
            raise self._incomplete("label", ("horizon_bars",), purpose)
        return self.horizon_bars

    def _incomplete(self, section: str, fields: Sequence[str], purpose: str) -> IncompleteMetadata:
        facts = self.document.get(section) or {}
        missing = ", ".join(f"{section}.{field}" for field in fields if field not in facts)
        return IncompleteMetadata(
            f"{self.model} {self.version}: expected {missing} in its model.json, got none: {purpose}"
        )


Section = TypeVar("Section", bound=msgspec.Struct)
_NEWS = ("max_age_ns", "max_texts")


def _complete(section: type[Section], facts: Mapping[str, Any]) -> Section | None:
    """Return the section; None where a field is missing."""
    fields = section.__struct_fields__
    return section(**_part(facts, fields)) if facts.keys() >= set(fields) else None


def _fit_record(facts: Mapping[str, Any]) -> FitRecord:
    return FitRecord(**_part(facts, FitRecord.__struct_fields__))


def _part(facts: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    return {name: facts[name] for name in fields if name in facts}


def _check_fits(fits: Any) -> None:
    """Check the records of fits: with prices there must be the times that they are from."""
    if not isinstance(fits, list) or not all(isinstance(fit, dict) for fit in fits):
        raise ValueError(f"model.json: expected fits as a list of objects, got {excerpt(fits)}")
    for fit in fits:
        for field, check in {**FIT, "prices": SKETCH}.items():
            _check_field(fit, field, check, "fits.")
        if "prices" in fit and not {"first_ts_event", "last_ts_event"} <= fit.keys():
            raise ValueError("model.json: expected fits.first_ts_event and .last_ts_event beside .prices, got none")


def _check_field(values: Mapping[str, Any], name: str, check: Check, inside: str = "") -> None:
    expected, is_right = check
    if name in values and not is_right(values[name]):
        raise ValueError(f"model.json: expected {inside}{name} as {expected}, got {excerpt(values[name])}")
