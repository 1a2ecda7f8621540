"""A dispatcher as in a live run, over a connection that can be held up and cut."""

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
from nautilus_torchserve.trading.inference.config import DispatcherConfig
from nautilus_torchserve.trading.inference.dispatcher import InferenceDispatcher
from nautilus_torchserve.trading.inference.messages import InferenceCall, ModelHealth, PredictionRequest, RequestOutcome
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig

BTC, ETH = (InstrumentId.from_str(f"{name}USDT-PERP.BINANCE") for name in ("BTC", "ETH"))
MS = 1_000_000


class DispatcherProbe:
    """`InferenceDispatcher` with what it delivered; its methods are for the event loop."""

    def __init__(self, config: InferenceActorConfig, schema: FeatureSchema, **given: Any) -> None:
        self.calls: list[InferenceCall] = []
        self.splits: list[str] = []
        self.health: list[ModelHealth] = []
        self.exposed: set[InstrumentId] = set()
        self.requests: list[PredictionRequest] = []
        callables = {
            "has_exposure": self.exposed.__contains__,
            "deliver": self._deliver,
            "on_health": self.health.append,
            **given,
        }
        self.dispatcher = InferenceDispatcher(
            config,
            schema,
            callables.pop("check_metadata", _accept_any),
            loop=asyncio.get_running_loop(),
            now_ns=time.time_ns,
            **callables,
        )

    def submit(self, row: np.ndarray, instrument_id: InstrumentId = BTC, *, age_ns: int = 0) -> PredictionRequest:
        """Submit a row that was received so long ago."""
        at = time.time_ns() - age_ns
        self.requests.append(PredictionRequest(instrument_id, len(self.requests), at, at, row))
        self.dispatcher.submit(self.requests[-1])
        return self.requests[-1]

    def outcomes(self) -> dict[int, RequestOutcome]:
        """Return the outcomes by the requests' numbers; fail where one ended twice."""
        ended = [
            (request.number, outcome)
            for call in self.calls
            for request, outcome in zip(call.requests, call.outcomes, strict=True)
        ]
        assert len(ended) == len(dict(ended))
        return dict(sorted(ended))

    async def predict(self, row: np.ndarray, instrument_id: InstrumentId = BTC) -> InferenceCall:
        """Submit a row, and return the call that it ended in."""
        request = self.submit(row, instrument_id)
        await until(lambda: request.number in self.outcomes())
        return next(call for call in self.calls if request in call.requests)

    async def available(self) -> "DispatcherProbe":
        await until(lambda: self.dispatcher.is_available)
        return self

    def states(self) -> list[str]:
        """Return the states of health, each change once."""
        states = [health.state for health in self.health]
        return [state for state, before in zip(states, ["", *states], strict=False) if state != before]

    def _deliver(self, call: InferenceCall, split: str) -> None:
        self.calls.append(call)
        self.splits.append(split)


def _accept_any(metadata: ModelMetadata) -> None:
    """Accept any version."""


def config(
    url: str, model: str = "tick", live: Mapping[str, Any] | None = None, **changes: Any
) -> InferenceActorConfig:
    """Return an actor's config with long deadlines, since the machine may be busy."""
    quick = {"deadline_ns": 10_000 * MS, "probe_after_ns": 50 * MS, "max_probe_after_ns": 200 * MS}
    return InferenceActorConfig(
        instrument_id=BTC, url=url, model=model, live=DispatcherConfig(**{**quick, **(live or {})}), **changes
    )


def run_dispatcher(
    configured: InferenceActorConfig, scenario: Callable[[DispatcherProbe], Awaitable[None]], **given: Any
) -> DispatcherProbe:
    """Run a scenario with a dispatcher on an event loop of its own, and return the probe."""

    async def run() -> DispatcherProbe:
        probe = DispatcherProbe(configured, given.pop("schema", tick_schema()), **given)
        try:
            await scenario(probe)
        finally:
            probe.dispatcher.close()
        return probe

    probe = asyncio.run(run())
    support.until(lambda: not threads_of(configured.model))
    return probe


def threads_of(model: str) -> list[str]:
    """Return the names of a dispatcher's threads that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name in (f"send-{model}", f"watch-{model}")]


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition, the event loop running."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.002)


def of_other_features(archive: Path, to: Path, version: str) -> Path:
    """Copy an archive to another version, whose schema has a window of 16 trades."""
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
