"""Options and arguments that several commands have; one name has one type and means one thing.

The help of an option is ``What it is (detail of this command); default: where it is not a value``. Durations are
written ``500us``, ``30s``, ``1.5h`` or, as NautilusTrader writes them, ``4-HOUR``; `seconds` also takes plain numbers.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from nautilus_torchserve.bundle import WORKSPACE
from nautilus_torchserve.cli.app import parsed
from nautilus_torchserve.serving.client.archive_import import TRUSTED, TRUSTED_VARIABLE
from nautilus_torchserve.trading.durations import parse_duration, parse_seconds
from nautilus_torchserve.traffic.split import Unit
from nautilus_torchserve.wire.names import check_model_name, check_version

HOME, RUNS = WORKSPACE / ".server", WORKSPACE / "runs"
REPORTS = WORKSPACE / "reports" / "rollouts"
LOCAL = "http://127.0.0.1:8080"
"""Inference port of ``config.properties``."""


def duration(help_text: str, *names: str, parse: Callable[[str], int] = parse_duration) -> Any:
    """Return an option of nanoseconds, written as a duration."""
    return typer.Option(*names, parser=parsed(parse), metavar="DURATION", help=help_text)


def seconds(help_text: str, *names: str) -> Any:
    """Return an option of seconds, written as a duration or as a plain number of them."""
    return typer.Option(*names, parser=parsed(parse_seconds), metavar="DURATION", help=help_text)


def seed_option(use: str) -> Any:
    """Return the option ``--seed``, given what is drawn."""
    return typer.Option(min=0, help=f"Random seed ({use}).")


# Output
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Report = Annotated[Path | None, typer.Option(help="Report folder; default: no report.")]

# Models and servers
ModelArgument = Annotated[str, typer.Argument(parser=parsed(check_model_name), help="Registered name of the model.")]
AnyModel = Annotated[
    str | None,
    typer.Argument(parser=parsed(check_model_name), help="Registered name of the model; default: all models."),
]
VersionArgument = Annotated[str, typer.Argument(parser=parsed(check_version), help="A registered version.")]
Model = Annotated[str, typer.Option(help="Model (registered name).")]
RunFolder = Annotated[Path, typer.Option(help="Run folder (to build the archive from).")]
Version = Annotated[str | None, typer.Option(help="Model version; default: the server's default version.")]
ArchiveVersion = Annotated[str, typer.Option(help="Model version (of the archive).")]


def _require_signature(value: bool) -> bool:
    """Have every ``mar:`` archive of this process, and of those that it starts, verified."""
    if value:
        os.environ.setdefault(TRUSTED_VARIABLE, str(TRUSTED))
    return value


RequireSignature = Annotated[
    bool,
    typer.Option(
        "--require-signature",
        callback=_require_signature,
        help=f"Require a signature of a mar: archive: of a key in {TRUSTED.name}/, else in {TRUSTED_VARIABLE}.",
    ),
]
Url = Annotated[str, typer.Option(help="Inference URL, or mar:PATH for an archive.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="Token file (TorchServe's key_file.json); default: that of the local server."),
]
Home = Annotated[Path, typer.Option(help="Home of the local server (keys, logs, state).")]
Trusted = Annotated[Path, typer.Option(help="Folder of trusted public keys; archives must be signed by one of them.")]
Runs = Annotated[Path, typer.Option(help="Folder of mlflow.db, unless MLFLOW_TRACKING_URI names a store.")]
Reports = Annotated[Path, typer.Option(help="Folder for rollout reports (JSON and text).")]
Store = Annotated[str, typer.Option(help="Traffic database (splits and outcomes), a SQLAlchemy URL.")]
Log = Annotated[str, typer.Option(help="Audit log: parquet:FOLDER, or a SQLAlchemy URL.")]

RunId = Annotated[
    str | None, typer.Option("--run-id", help="Run ID in the audit log; default: the most recent one that matches.")
]

# Rollouts and experiments
Challenger = Annotated[
    str,
    typer.Option(
        "--to", parser=parsed(check_version), metavar="VERSION", help="Version (of the registered challenger)."
    ),
]
WatchS = Annotated[float, seconds("Time to watch errors and latency after the switch.", "--watch")]
DrainS = Annotated[
    float | None, seconds("Idle time before a version is unregistered; default: its response timeout.", "--drain")
]
SliceS = Annotated[float, seconds("Length of a time slice (with --by time).", "--slice")]
ForS = Annotated[float, seconds("Maximum duration.", "--for")]
By = Annotated[Unit, typer.Option(help="Unit that is assigned to one version.")]
