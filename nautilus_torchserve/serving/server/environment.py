"""Environment variables of TorchServe and its workers: an allow-list, written as the pattern of all others.

TorchServe has one setting for it, ``blacklist_env_vars``: a worker gets no variable whose whole name the pattern
matches. Java itself would still hold them, so it is started without them. `start_server` does both;

``python -m nautilus_torchserve.serving.server.environment CONFIG COMMAND [ARGUMENT...]`` does it for a command,
``torchserve`` for one.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from nautilus_torchserve.serving.server.properties import BadProperties

PROPERTY = "blacklist_env_vars"
WITHHELD = (
    "(?s-i:(?!(?:"
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_(?:ALL|COLLATE|CTYPE|MESSAGES|MONETARY|NUMERIC|TIME)|TZ|TMPDIR|TEMP|TMP|"
    "JAVA_HOME|LOG_LOCATION|METRICS_LOCATION|TS_DECODE_INPUT_REQUEST|TS_MAX_RESPONSE_SIZE|TS_IPEX_ENABLE|TS_IPEX_GPU_ENABLE|"
    "LD_LIBRARY_PATH|LD_PRELOAD|DYLD_LIBRARY_PATH|XDG_CACHE_HOME|HF_HOME|HF_HUB_OFFLINE|TRANSFORMERS_OFFLINE|"
    "TOKENIZERS_PARALLELISM|ATEN_CPU_CAPABILITY|"
    "PYTHON(?:PATH|HOME|UNBUFFERED|HASHSEED|NOUSERSITE|SAFEPATH|DONTWRITEBYTECODE|PYCACHEPREFIX|FAULTHANDLER|UTF8|"
    "IOENCODING|WARNINGS|MALLOC)|"
    "(?!.*(?:AUTH|CRED|DSN|KEY|LOGIN|PASS|PRIV|PWD|SECRET|TOKEN|UR[IL]))"
    "(?:OMP|GOMP|KMP|MKL|OPENBLAS|DNNL|ONEDNN|MALLOC|TORCH|PYTORCH|TORCHINDUCTOR|TRITON|CUDA|CUDNN|CUBLAS|NCCL|NVIDIA|"
    "HIP|ROCR|HSA|ZE)_[A-Z0-9_]+"
    ")(?!.)).*)"
)
"""Matches every name but those that Java, Python and torch need: paths, locale, threads, GPUs. Java and Python read it
alike. ``TS_...`` and ``PYTHONPATH`` are those that TorchServe itself sets for its workers."""
_SHADOWING = "PYTHONPATH"
"""TorchServe puts it before an archive's folder: modules there would replace the archive's own, signed or not."""
_UNKNOWN = ("QZX", "QZX_7", "Qzx", "qzx_7", "_qzx", "é")
"""Made-up names, which an allow-list withholds."""
_VARIABLE = re.compile(r"\$\$([^$]+)\$\$")


def withheld_names(properties: Mapping[str, str]) -> str:
    """Return the configuration's pattern where it is an allow-list, else one that withholds more than it.

    Raises
    ------
    BadProperties
        A pattern that cannot be applied.
    """
    configured = properties.get(PROPERTY, "")
    if all(_is_withheld(configured, name) for name in _UNKNOWN):
        return configured
    return f"{configured}|{WITHHELD}" if configured else WITHHELD


def server_environment(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of this process that TorchServe may have.

    They are those that the configuration does not withhold, but `_SHADOWING`, those that it names (``$$NAME$$``) and,
    where ``enable_envvars_config`` is true, ``TS_...``. Workers get the first kind alone.
    """
    pattern = withheld_names(properties)
    named = {name for value in properties.values() for name in _VARIABLE.findall(value)}
    prefix = ("TS_",) if properties.get("enable_envvars_config", "").lower() == "true" else ()
    return {
        name: value
        for name, value in os.environ.items()
        if name in named or name.startswith(prefix) or not (name == _SHADOWING or _is_withheld(pattern, name))
    }


def _is_withheld(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise BadProperties(
            f"{PROPERTY}: expected a regular expression that Java and Python read alike, got {pattern[:100]!r}: "
            f"{str(error)[:100]}",
            PROPERTY,
        ) from error


if __name__ == "__main__":
    from nautilus_torchserve.serving.server.config import read_config

    if len(sys.argv) < 3:
        sys.exit("usage: python -m nautilus_torchserve.serving.server.environment CONFIG COMMAND [ARGUMENT...]")
    try:
        environment = server_environment(read_config(Path(sys.argv[1])))
        os.execvpe(sys.argv[2], sys.argv[2:], environment)
    except (BadProperties, OSError) as failure:
        sys.exit(f"error: {failure}")
