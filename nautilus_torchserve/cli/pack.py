"""Pack a training run, or a trained model in a file of any make, into a model archive."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape

from nautilus_torchserve.cli.app import App, console, echo
from nautilus_torchserve.cli.options import ArchiveVersion, Json
from nautilus_torchserve.models.spec import GENERIC_HANDLER
from nautilus_torchserve.models.table import MODELS, spec_of
from nautilus_torchserve.release.build.archive import BuiltArchive, build_archive, pack_run
from nautilus_torchserve.user_error import InvalidArgument

app = App()


@app.command()
def main(
    model: Annotated[
        str,
        typer.Argument(
            help=f"Model of a run ({', '.join(MODELS)}, package.module:NAME or FILE.py of a spec), or a trained model: "
            "a state_dict or checkpoint, safetensors, TorchScript, ONNX or torch.export file, a Hugging Face folder."
        ),
    ],
    run: Annotated[Path | None, typer.Option(help="Run folder: what `train` wrote; default: runs/MODEL.")] = None,
    name: Annotated[str | None, typer.Option(help="Name: of the model in a file; default: that of --spec.")] = None,
    version: ArchiveVersion = "1.0",
    spec: Annotated[
        str | None,
        typer.Option(help="Spec of the model in a file: its network, features and outputs, as FILE.py; default: none."),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Names of a program's outputs: up,down; default: those of --spec."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Names of a program's columns: rsi,atr; default: those of --spec, or x0,x1."
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(help="softmax or sigmoid of a program's outputs; default: that of --spec, or none."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting: FIELD=VALUE of the network of --spec; repeatable."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="Inputs to choose golden ones from: float32 rows as .npy, or texts as .txt, one a line; default: "
            "random numbers, or four sentences."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Output: the model store.")] = Path("archives"),
    sign_key: Annotated[
        str | None, typer.Option(help="Sign it: a private key's FILE, or env:VARIABLE; default: unsigned.")
    ] = None,
    code: Annotated[
        list[Path] | None,
        typer.Option(help="Your own code that the model imports: a package's folder, or one of packages; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Pack a run, or a trained model in a file, with the code it needs into OUT/NAME.mar."""
    about_file = {
        "--name": name,
        "--spec": spec,
        "--outputs": outputs,
        "--columns": columns,
        "--activation": activation,
        "--set": settings,
        "--inputs": inputs,
    }
    if model in MODELS or ":" in model or model.endswith(".py"):
        given = ", ".join(option for option, value in about_file.items() if value)
        if given:
            raise InvalidArgument(f"expected {given} with a file of a trained model, got the spec {model}")
        known = spec_of(model)
        with console.status(escape(f"Packing {known.name} {version}")):
            built = build_archive(model, run or Path("runs") / known.name, version, out, sign_key, code or [])
    else:
        if run is not None:
            raise InvalidArgument(f"expected --run with a spec, got the trained model {model}")
        with console.status(escape(f"Packing {model}")), tempfile.TemporaryDirectory(prefix="run-") as folder:
            interface = _interface(name, spec, outputs, columns, activation, settings or [])
            built = _pack_file(Path(model), Path(folder), interface, inputs, version, out, sign_key, code or [])
    if as_json:
        print(json.dumps(asdict(built), default=str))
    else:
        signed = f"signed by key {built.key_id}" if built.key_id else "unsigned"
        size = f"{built.bytes / 1024:.0f} KiB"
        echo(f"{built.path}: {built.model} {version}, {size}, digest {built.digest[:12]}, {signed}")


def _pack_file(
    path: Path,
    run: Path,
    interface: dict[str, Any],
    inputs: Path | None,
    version: str,
    out: Path,
    sign_key: str | None,
    code: Sequence[Path],
) -> BuiltArchive:
    from nautilus_torchserve.training.artefacts.run import Interface, write_artefact_run  # torch takes a second

    description = write_artefact_run(
        path, run, Interface(**interface), None if inputs is None else _read_inputs(inputs)
    )
    spec = interface["spec"]
    return pack_run(
        description["model"],
        GENERIC_HANDLER if spec is None else spec.handler,
        run,
        version,
        out,
        sign_key,
        code,
    )


def _interface(
    name: str | None,
    spec: str | None,
    outputs: str | None,
    columns: str | None,
    activation: str | None,
    settings: Sequence[str],
) -> dict[str, Any]:
    """Return the arguments of `training.artefacts.run.Interface`."""
    options = {"--outputs": outputs, "--columns": columns, "--activation": activation}
    given = ", ".join(option for option, value in options.items() if value)
    if spec is not None and given:
        raise InvalidArgument(f"expected {given} or --spec, which says the same, got both")
    if activation not in (None, "softmax", "sigmoid"):
        raise InvalidArgument(f"expected --activation softmax or sigmoid, got {activation!r}")
    return {
        "name": name,
        "spec": None if spec is None else spec_of(spec),
        "outputs": _names(outputs),
        "columns": _names(columns),
        "activation": activation,
        "settings": dict(map(_setting, settings)),
    }


def _names(text: str | None) -> tuple[str, ...]:
    names = () if text is None else tuple(name.strip() for name in text.split(","))
    if len(set(names)) != len(names) or not all(names):
        raise InvalidArgument(f"expected different names with commas between them, got {text!r:.100}")
    return names


def _setting(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InvalidArgument(f"expected --set NAME=VALUE, got {text!r:.100}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _read_inputs(path: Path) -> NDArray[Any] | list[str]:
    """Read inputs of a model: numbers as `numpy.save` writes them, or texts, one a line."""
    try:
        if path.suffix == ".txt":
            return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        values: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidArgument(f"{path}: expected rows as numpy.save writes them, or texts as .txt: {error}") from None
    if not isinstance(values, np.ndarray):
        raise InvalidArgument(f"{path}: expected one array as numpy.save writes it (.npy), got several")
    return values
