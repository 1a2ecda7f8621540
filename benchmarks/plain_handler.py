"""The tick classifier behind TorchServe as most people write a handler: what ours is compared with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler

from model_defs.tick_classifier import TickClassifier, TickClassifierConfig


class PlainTickHandler(BaseHandler):
    """JSON rows in and out, or float32 bytes in and out; nothing is checked."""

    def initialize(self, context: Context) -> None:
        folder = Path(context.system_properties["model_dir"])
        gpu = context.system_properties.get("gpu_id")
        self.device = torch.device(f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu")
        config = json.loads((folder / "config.json").read_text())
        self.model = TickClassifier(TickClassifierConfig(**config))
        self.model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
        self.model.to(self.device).eval()
        self.initialized = True

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        batches = []
        self.binary = []
        for item in data:
            body = item.get("data") or item.get("body")
            if isinstance(body, bytes | bytearray):
                batches.append(torch.from_numpy(np.frombuffer(body, dtype=np.float32).reshape(-1, 4).copy()))
            else:
                batches.append(torch.tensor(body, dtype=torch.float32))
            self.binary.append(isinstance(body, bytes | bytearray))
        self.counts = [len(batch) for batch in batches]
        return torch.cat(batches)  # (B, 4)

    def postprocess(self, data: torch.Tensor) -> list[Any]:
        parts = data.softmax(dim=1).cpu().split(self.counts)  # (n, 3) each
        return [
            part.numpy().tobytes() if binary else part.tolist() for part, binary in zip(parts, self.binary, strict=True)
        ]
