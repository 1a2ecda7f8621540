"""A client from another process: predictions with our client, and the same over plain HTTP.

TORCHSERVE_TOKEN=... python examples/client.py http://127.0.0.1:8080
"""

import os
import sys

import numpy as np
import requests

from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.serving.client.client import connect


def main(url: str) -> None:
    token = os.environ.get("TORCHSERVE_TOKEN")
    rows = np.array([[1.5, 0.4, 0.5, 0.2], [-0.3, -0.8, 1.2, 0.1]], dtype=np.float32)

    # The schema makes the client refuse a model that was trained on other features.
    with connect(url, "tick", schema=tick_schema(), token=token) as client:
        response = client.predict(rows)
    print(f"tick {response.version}, digest {response.digest[:12]}, {response.latency_ns / 1e6:.2f} ms")
    for name, values in response.outputs.items():
        print(f"  {name:5} {values}")

    headers = {"Authorization": f"Bearer {token}"}
    plain = requests.post(f"{url}/predictions/tick", json=rows.tolist(), headers=headers, timeout=5)
    plain.raise_for_status()
    print(plain.json())


if __name__ == "__main__":
    main(sys.argv[1])
