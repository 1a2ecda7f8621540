"""Call every command with damaged inputs; none may show a traceback: ``python tests/fuzz/fuzz.py 10000 --seed 7``.

Each call is made in a fork of this process, in an empty folder, with a home of its own. What is left out, and why:

- a Java that works: servers are never started (seconds each, ports). What is called is a Java that ends at once, so
  that commands get as far as TorchServe's start and report that it failed.
- sizes of work (`fuzz_commands.WORK`) above some hundreds of trades, bars and one epoch; ``demo news`` without a
  sentiment model that is there already (minutes).
- connections that are answered: URLs are of archives (``mar:``) or of a closed port.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from random import Random

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests"), str(PROJECT / "tests/fuzz"), str(PROJECT)]

from fuzz_commands import Call, Calls  # noqa: E402
from fuzz_seeds import Seeds  # noqa: E402

from cli.app import A_BUG  # noqa: E402
from support import script_app  # noqa: E402

PRELOADED = (
    "tracking.store", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store",
    "transformers", "optuna", "plotly.graph_objects", "nautilus_trader.backtest.engine",
    "nautilus_trader.live.node", "training.bar_run", "training.sentiment_run", "training.tuning",
    "model_registry.registry", "sklearn.metrics", "scipy.stats",
)
"""What commands import only when they need it, for many calls imported once."""
MOST_CPU_S, MOST_S = 60, 900
"""Seconds of processor time, and of waiting, after which a call counts as hung."""
FAKE_JAVA = """#!/bin/sh
case "$*" in *-version*) echo 'openjdk version "17.0.9"' >&2; exit 0;; esac
echo 'this Java ends at once' >&2
exit 1
"""
STATUSES = {0, 1, 2, 3}


def main() -> int:
    """Call, report what broke, and return 1 where anything did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, help="calls")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="part of a command's name")
    parser.add_argument("--call", type=int, help="this one only, and keep its folder")
    parser.add_argument("--verbose", action="store_true", help="show every call and how it ended")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.environ.update(_environment(folder))
    seeds = Seeds(folder / "seeds", lambda script, arguments: _must_succeed(Call(script, tuple(arguments), folder)))
    calls = Calls(seeds, folder / "calls")
    names = [each for each in calls.names if given.only in each]
    for each in PRELOADED if given.number > 50 else ():
        import_module(each)
    order = Random(given.seed)
    faults, statuses = [], Counter()
    for number in range(given.number):
        if number % len(names) == 0:
            order.shuffle(names)
        if given.call is not None and number != given.call:
            continue
        call = calls.make(names[number % len(names)], number, given.seed)
        began = time.monotonic()
        if given.verbose:
            print(f"{number}: {call}", flush=True)
        status, out, err = run(call)
        fault = wrong(call, status, out, err)
        statuses[status] += 1
        if given.verbose:
            last = next((line for line in reversed(err.splitlines()) if line.strip('╰─╯ ')), '')
            print(f"    {time.monotonic() - began:.1f} s, status {status}: {last[:300]}", flush=True)
        if fault:
            faults.append(fault)
            print(f"call {number} of seed {given.seed}: {fault}: {call}\n{out[-500:]}{err[-2500:]}\n", flush=True)
        if given.call is None:
            shutil.rmtree(call.folder)
    print(json.dumps({"calls": sum(statuses.values()), "statuses": dict(statuses), "faults": len(faults)}))
    if given.call is None:
        shutil.rmtree(folder)
    return 1 if faults else 0


def run(call: Call) -> tuple[int, str, str]:
    """Make a call in a fork of this process; return its exit status (negative: the signal), stdout and stderr."""
    paths = call.folder / ".stdout", call.folder / ".stderr"
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
        _be_the_command(call, *paths)
    end = time.monotonic() + MOST_S
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid or time.monotonic() > end:
            break
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # and what it has started
    if not pid:
        _, status = os.waitpid(child, 0)
    out, err = (path.read_text("utf-8", "replace") if path.exists() else "" for path in paths)
    return (os.waitstatus_to_exitcode(status) if pid else -999), out, err


def _be_the_command(call: Call, out: Path, err: Path) -> None:
    """Become ``python scripts/NAME.py``, as far as anybody outside can see; never returns."""
    status = 1
    try:
        for number, path in enumerate((os.devnull, out, err)):
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(opened, number)
        os.chdir(call.folder)
        os.environ.update({**call.environment, "HOME": f"{call.folder}"})
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
        sys.argv = [f"{call.script}.py", *call.arguments]
        script_app(PROJECT / "scripts" / f"{call.script}.py")()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wrong(call: Call, status: int, out: str, err: str) -> str | None:
    """Say what is wrong with how a call ended."""
    if status == -999:
        return f"no end within {MOST_S} s"
    if status not in STATUSES:
        return f"status {status}"
    for sign in ("Traceback (most recent call last)", A_BUG, "Exception ignored", "panicked at"):
        if sign in out + err:
            return sign
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    if status in (1, 2, 3) and len(errors) != 1 and "Usage:" not in err and not out.startswith("{"):
        return f"status {status} with {len(errors)} lines of errors"
    if status == 0 and "--json" in call.arguments and "--help" not in call.arguments:
        try:
            json.loads(out)
        except ValueError:
            return "stdout is no JSON object"
    return None


def _must_succeed(call: Call) -> None:
    status, out, err = run(call)
    for name in (".stdout", ".stderr"):
        (call.folder / name).unlink(missing_ok=True)
    assert status == 0, f"{call}\n{out}{err}"


def _environment(folder: Path) -> dict[str, str]:
    java = folder / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(FAKE_JAVA)
    java.chmod(0o755)
    for name in ("TORCHSERVE_TOKEN", "TORCHSERVE_MANAGEMENT_TOKEN", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    return {
        "JAVA_HOME": f"{folder / 'java'}", "PATH": f"{java.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{PROJECT}", "COLUMNS": "200", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore",
    }


if __name__ == "__main__":
    sys.exit(main())
