"""Options that name the server, shared by all commands that need one."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from nautilus_torchserve.cli.options import HOME, Home, TokenFile, replace_parameter
from nautilus_torchserve.release.rollout.target import Target, named_target

FindTarget = Callable[[], Target]
"""Finds the server that the options name; raises `NoTarget` or `NoToken`."""
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "home": (Home, HOME),
    "management_url": (
        Annotated[
            str | None,
            typer.Option(
                help="Management port: of another server, token in TORCHSERVE_MANAGEMENT_TOKEN; default: --home's."
            ),
        ],
        None,
    ),
    "inference_url": (
        Annotated[
            str | None,
            typer.Option(help="Inference port: of that server, token in TORCHSERVE_TOKEN; default: --home's."),
        ],
        None,
    ),
    "model_store": (
        Annotated[
            Path | None,
            typer.Option(help="Folder of archives: of that server, as it is reached from here; default: --home's."),
        ],
        None,
    ),
    "metrics_url": (
        Annotated[
            str | None,
            typer.Option(help="Metrics port: of that server; default: --home's, else error counters are not watched."),
        ],
        None,
    ),
    "token_file": (TokenFile, None),
    "config": (
        Annotated[
            Path | None,
            typer.Option(
                help="Configuration file: that server's config.properties, where rollouts keep models; default: none."
            ),
        ],
        None,
    ),
}


def takes_server(command: Callable[..., None]) -> Callable[..., None]:
    """Return a typer command with these options in the place of its parameter ``server``: a `FindTarget`.

    For commands that do not always need the server, or find it repeatedly: a restart changes its tokens and ports.
    """
    return replace_parameter(command, "server", _OPTIONS, lambda options: functools.partial(named_target, **options))


def takes_target(command: Callable[..., None]) -> Callable[..., None]:
    """Return the same with the server itself, as parameter ``target``; exit status 1 where there is none."""

    def with_target(server: FindTarget, **given: Any) -> None:
        command(target=server(), **given)

    own = [parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "target"]
    with_target.__name__, with_target.__doc__ = command.__name__, command.__doc__
    with_target.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    return takes_server(with_target)
