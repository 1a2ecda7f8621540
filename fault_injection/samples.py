"""Good requests with the bits that must come back, computed in this process from the archive that the server serves."""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from nautilus_torchserve.inference.model_files import GOLDEN, read_golden
from nautilus_torchserve.release.rollout.gates import golden_inputs
from nautilus_torchserve.serving.client.archive_file import open_archive
from nautilus_torchserve.serving.client.client import Inputs, connect
from nautilus_torchserve.wire.body import BINARY, JSON, encode_rows
from nautilus_torchserve.wire.news_windows import NewsWindow, encode_news, encode_texts

SIZES = (1, 1, 1, 1, 1, 2, 3, 16, 64, 300)
"""Inputs of one request."""


@dataclass(frozen=True)
class Sample:
    """One good request and its answer."""

    content_type: str
    body: bytes
    table: NDArray[np.float32]
    """float32 [n, outputs]: the answer."""


@dataclass(frozen=True)
class Subject:
    """The model under attack."""

    model: str
    """Registered one request at a time, or as its owner has it."""
    batched: str
    """The same archive in batches; the same name where there is no such registration."""
    kind: str
    """``rows``, ``texts``, or ``windows and texts``."""
    row_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    digest: str
    """Content digest of the archive."""
    samples: tuple[Sample, ...]


def read_subject(archive: Path, model: str, batched: str, seed: int, count: int = 300) -> Subject:
    """Prepare good requests from an archive's golden inputs, and rows like them, with the in-process answers."""
    with connect(f"mar:{archive}", model) as client:
        metadata = client.metadata
        inputs = golden_inputs(_golden(archive))
        if isinstance(inputs, np.ndarray) and inputs.ndim == 2:
            noise = np.random.default_rng(seed).normal(0, 1, (400, inputs.shape[1])).astype(np.float32)
            inputs = np.concatenate([inputs, inputs[np.arange(400) % len(inputs)] + noise])
        outputs = metadata.outputs
        answered = client.predict(inputs).outputs
        table = np.stack([answered[name] for name in outputs], axis=1)
        random = Random(seed)
        samples = []
        for _ in range(count):
            size = random.choice([size for size in SIZES if size <= len(inputs)])
            chosen = [random.randrange(len(inputs)) for _ in range(size)]
            samples.append(Sample(*_encode(inputs, chosen, random), table[chosen]))
        shape = metadata.feature_schema.row_shape
        return Subject(model, batched, metadata.inputs, shape, outputs, metadata.archive_digest, tuple(samples))


def _golden(archive: Path) -> Any:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="golden-") as folder, open_archive(archive) as members:
        members.extract(GOLDEN, folder)
        return read_golden(Path(folder))


def _encode(inputs: Inputs, chosen: list[int], random: Random) -> tuple[str, bytes]:
    """Return content type and body of a request about some of the inputs, in one of the forms that the wire knows."""
    if not isinstance(inputs, np.ndarray):
        picked = [inputs[at] for at in chosen]
        windows = [sample for sample in picked if isinstance(sample, NewsWindow)]
        return JSON, encode_news(windows) if windows else encode_texts([str(sample) for sample in picked])
    rows = inputs[chosen]
    form = random.choice(("binary", "binary", "list", "instances", "inputs"))
    if form == "binary":
        return BINARY, encode_rows(rows)
    if form == "list":
        return JSON, orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
    if form == "instances":
        return JSON, orjson.dumps({"instances": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
    tensor = {"name": "rows", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    return f"{JSON}; charset=utf-8", orjson.dumps({"id": f"é {len(rows)}", "inputs": [tensor]})


def differs(sample: Sample, body: bytes, content_type: str, outputs: tuple[str, ...]) -> str | None:
    """Return how a response differs from the sample's, bit for bit; None where it does not."""
    if content_type.startswith(BINARY):
        return None if body == sample.table.tobytes() else f"{len(body)} bytes that are not the {sample.table.nbytes}"
    try:
        answer = orjson.loads(body)["outputs"]
        if isinstance(answer, list):
            answer = {tensor["name"]: tensor["data"] for tensor in answer}
        for column, name in enumerate(outputs):
            if name in answer and np.asarray(answer[name], np.float32).tobytes() != sample.table[:, column].tobytes():
                return f"output {name} differs"
    except (ValueError, KeyError, TypeError) as error:
        return f"no answer: {type(error).__name__} in {json.dumps(body[:60].decode('latin-1'))}"
    return None if any(name in answer for name in outputs) else f"no output of {outputs}"
