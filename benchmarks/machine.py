"""What the numbers were measured on."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from nautilus_torchserve.code_version import package_version


def describe_machine() -> dict[str, Any]:
    """Return the processor, the cores that this process may use, load, GPU, versions."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: package_version(name) for name in ("torchserve", "fastapi", "uvicorn")},
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
