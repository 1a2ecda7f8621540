"""The tick classifier in a FastAPI process: ``python -m benchmarks.fastapi_app WEIGHTS_FOLDER PORT``.

The quick form of it: an async endpoint without pydantic, orjson both ways, uvloop and
httptools under uvicorn, no access log. No batching, no versions, no tokens, no checks.
"""

import json
import sys
from pathlib import Path

import numpy as np
import orjson
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from safetensors.torch import load_file

from model_defs.tick_classifier import TickClassifier, TickClassifierConfig

BINARY = "application/octet-stream"


def build(folder: Path) -> FastAPI:
    """Build the application, with the network of a folder that holds ``config.json`` and ``weights.safetensors``."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = TickClassifier(TickClassifierConfig(**json.loads((folder / "config.json").read_text())))
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    model.to(device).eval()
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        sent = await request.body()
        binary = request.headers["content-type"] == BINARY
        values = np.frombuffer(sent, dtype=np.float32).copy() if binary else orjson.loads(sent)
        rows = torch.as_tensor(values, dtype=torch.float32, device=device).reshape(-1, 4)
        with torch.inference_mode():
            table = model(rows).softmax(dim=1).cpu().numpy()  # (n, 3)
        if binary:
            return Response(table.tobytes(), media_type=BINARY)
        return Response(orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(build(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
