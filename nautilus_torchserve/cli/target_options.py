"""Groups of options about the server that versions are rolled out to, and about the rollout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from nautilus_torchserve.cli.options import HOME, DrainS, Home, TokenFile, WatchS
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.target import Target, named_target


@dataclass(frozen=True)
class ServerOptions:
    """Options that name a server: arguments of `named_target`."""

    home: Home = HOME
    management_url: Annotated[
        str | None,
        typer.Option(
            help="Management URL of another server (token: TORCHSERVE_MANAGEMENT_TOKEN); default: from --home."
        ),
    ] = None
    inference_url: Annotated[
        str | None, typer.Option(help="Inference URL of that server (token: TORCHSERVE_TOKEN); default: from --home.")
    ] = None
    model_store: Annotated[
        Path | None,
        typer.Option(help="Model store (of that server, as mounted here); default: from --home."),
    ] = None
    metrics_url: Annotated[
        str | None,
        typer.Option(help="Metrics URL of that server; default: from --home, else error counters are not watched."),
    ] = None
    token_file: TokenFile = None
    config: Annotated[
        Path | None,
        typer.Option(
            help="Configuration file (that server's config.properties, where rollouts save its models); default: none."
        ),
    ] = None

    def target(self) -> Target:
        """Return the server; raises as `named_target`. A restart of the server changes its tokens and ports."""
        return named_target(**vars(self))


@dataclass(frozen=True)
class SwitchOptions:
    """Options of a change of the default version: fields of `Limits`."""

    watch_s: WatchS = Limits.watch_s
    drain_s: DrainS = Limits.drain_s

    def limits(self) -> Limits:
        """Return the same for the library."""
        return Limits(**vars(self))


@dataclass(frozen=True)
class GateOptions(SwitchOptions):
    """Options of a version's gates: fields of `Limits`."""

    keep: Annotated[int, typer.Option(help="Number of earlier default versions kept loaded for a rollback.")] = (
        Limits.keep
    )
    latency_ratio: Annotated[
        float,
        typer.Option(help="Latency limit: this multiple of the serving version's p50 and p95, plus --latency-add-ms."),
    ] = Limits.latency_ratio
    latency_add_ms: Annotated[float, typer.Option(help="Latency allowed on top of --latency-ratio (ms).")] = (
        Limits.latency_add_ms
    )
    latency_most_ms: Annotated[float | None, typer.Option(help="Upper limit of the p95 (ms); default: no limit.")] = (
        Limits.latency_most_ms
    )
