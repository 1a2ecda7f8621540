"""Types of the arguments and options that name a model or a version."""

from typing import Annotated

import typer

from nautilus_torchserve.cli.app import parsed
from nautilus_torchserve.wire.names import check_model_name, check_version

Model = Annotated[str, typer.Argument(parser=parsed(check_model_name), help="The name that the model is asked under.")]
AnyModel = Annotated[str | None, typer.Argument(parser=parsed(check_model_name), help="Which model; default: all.")]
Version = Annotated[str, typer.Argument(parser=parsed(check_version), help="A registered version.")]
Challenger = Annotated[
    str,
    typer.Option(
        "--to", parser=parsed(check_version), metavar="VERSION", help="The challenger: a candidate that is registered."
    ),
]
