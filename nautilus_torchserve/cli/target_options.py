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
            help="Management port: of another server, token in TORCHSERVE_MANAGEMENT_TOKEN; default: --home's."
        ),
    ] = None
    inference_url: Annotated[
        str | None, typer.Option(help="Inference port: of that server, token in TORCHSERVE_TOKEN; default: --home's.")
    ] = None
    model_store: Annotated[
        Path | None,
        typer.Option(help="Folder of archives: of that server, as it is reached from here; default: --home's."),
    ] = None
    metrics_url: Annotated[
        str | None,
        typer.Option(help="Metrics port: of that server; default: --home's, else error counters are not watched."),
    ] = None
    token_file: TokenFile = None
    config: Annotated[
        Path | None,
        typer.Option(
            help="Configuration file: that server's config.properties, where rollouts keep models; default: none."
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

    keep: Annotated[int, typer.Option(help="Earlier default versions that stay loaded for a rollback.")] = Limits.keep
    latency_ratio: Annotated[
        float, typer.Option(help="Times the serving version's median and p95: the most, beside ...")
    ] = Limits.latency_ratio
    latency_add_ms: Annotated[float, typer.Option(help="... so many milliseconds more.")] = Limits.latency_add_ms
    latency_most_ms: Annotated[float | None, typer.Option(help="Most that the p95 may be (ms); default: no limit.")] = (
        Limits.latency_most_ms
    )
