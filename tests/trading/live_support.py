"""A model asked as in a live run, over a connection that can be held up and cut."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from nautilus_trader.model.identifiers import InstrumentId

import support
from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.inference.live_calls import InferenceDispatcher
from nautilus_torchserve.trading.inference.live_config import LiveCallsConfig
from nautilus_torchserve.trading.inference.messages import InferenceCall, ModelHealth, PredictionRequest, RequestOutcome
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig

BTC, ETH = (InstrumentId.from_str(f"{name}USDT-PERP.BINANCE") for name in ("BTC", "ETH"))
MS = 1_000_000


class Asked:
    """`InferenceDispatcher` with what it delivered; its methods are for the event loop."""

    def __init__(self, config: InferenceActorConfig, schema: FeatureSchema, **given: Any) -> None:
        self.calls: list[InferenceCall] = []
        self.splits: list[str] = []
        self.health: list[ModelHealth] = []
        self.held: set[InstrumentId] = set()
        self.questions: list[PredictionRequest] = []
        callables = {"held": self.held.__contains__, "deliver": self._deliver, "changed": self.health.append, **given}
        self.live = InferenceDispatcher(
            config,
            schema,
            callables.pop("fits", _fits),
            loop=asyncio.get_running_loop(),
            now_ns=time.time_ns,
            **callables,
        )

    def put(self, row: np.ndarray, instrument_id: InstrumentId = BTC, *, age_ns: int = 0) -> PredictionRequest:
        """Ask about a row that was received so long ago."""
        at = time.time_ns() - age_ns
        self.questions.append(PredictionRequest(instrument_id, len(self.questions), at, at, row))
        self.live.put(self.questions[-1])
        return self.questions[-1]

    def fates(self) -> dict[int, RequestOutcome]:
        """By the questions' numbers; each ended once, or this fails."""
        ended = [
            (each.number, fate) for call in self.calls for each, fate in zip(call.questions, call.fates, strict=True)
        ]
        assert len(ended) == len(dict(ended))
        return dict(sorted(ended))

    async def ask(self, row: np.ndarray, instrument_id: InstrumentId = BTC) -> InferenceCall:
        """Ask and wait; the call that answered."""
        question = self.put(row, instrument_id)
        await until(lambda: question.number in self.fates())
        return next(call for call in self.calls if question in call.questions)

    async def up(self) -> "Asked":
        await until(lambda: self.live.is_up)
        return self

    def states(self) -> list[str]:
        """Of health, each change once."""
        found = [each.state for each in self.health]
        return [state for state, before in zip(found, ["", *found], strict=False) if state != before]

    def _deliver(self, call: InferenceCall, split: str) -> None:
        self.calls.append(call)
        self.splits.append(split)


def _fits(metadata: ModelMetadata) -> None:
    """Any version."""


def config(
    url: str, model: str = "tick", live: Mapping[str, Any] | None = None, **changes: Any
) -> InferenceActorConfig:
    """Of an actor; patient, since the machine may be busy."""
    quick = {"deadline_ns": 10_000 * MS, "probe_after_ns": 50 * MS, "max_probe_after_ns": 200 * MS}
    return InferenceActorConfig(
        instrument_id=BTC, url=url, model=model, live=LiveCallsConfig(**{**quick, **(live or {})}), **changes
    )


def asking(configured: InferenceActorConfig, talk: Callable[[Asked], Awaitable[None]], **given: Any) -> Asked:
    """Ask a model on an event loop of its own until ``talk`` is over; everything that came of it."""

    async def run() -> Asked:
        asked = Asked(configured, given.pop("schema", tick_schema()), **given)
        try:
            await talk(asked)
        finally:
            asked.live.close()
        return asked

    asked = asyncio.run(run())
    support.until(lambda: not threads_of(configured.model))
    return asked


def threads_of(model: str) -> list[str]:
    """Threads that ask or watch a model."""
    return [each.name for each in threading.enumerate() if each.name in (f"ask-{model}", f"watch-{model}")]


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition, the event loop running."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.002)


def of_other_features(archive: Path, to: Path, version: str) -> Path:
    """A copy of an archive under another version, whose model says that it looks back on 16 trades."""
    with ZipFile(archive) as old, ZipFile(to, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "MAR-INF/MANIFEST.json":
                manifest = json.loads(data)
                manifest["model"]["modelVersion"] = version
                data = json.dumps(manifest).encode()
            elif name == "model.json":
                model = json.loads(data)
                model["feature_schema"]["window"] = 16
                data = json.dumps(model).encode()
            new.writestr(name, data)
    return to
