"""Pack a training run, or a trained model in a file of any make, into a model archive."""

import json
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape

from nautilus_torchserve.cli.app import App, console, echo, print_json
from nautilus_torchserve.cli.options import ArchiveVersion, Json
from nautilus_torchserve.models.spec import ACTIVATIONS, GENERIC_HANDLER
from nautilus_torchserve.models.table import MODELS, spec_of
from nautilus_torchserve.release.build.archive import build_archive, pack_run
from nautilus_torchserve.user_error import InvalidArgument

app = App()


@dataclass(frozen=True)
class FileOptions:
    """Options of a trained model in a file: what the file does not say of it."""

    name: Annotated[str | None, typer.Option(help="Name: of the model in a file; default: that of --spec.")] = None
    spec: Annotated[
        str | None,
        typer.Option(help="Spec of the model in a file: its network, features and outputs, as FILE.py; default: none."),
    ] = None
    outputs: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Names of a program's outputs: up,down; default: those of --spec."),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Names of a program's columns: rsi,atr; default: those of --spec, or x0,x1."
        ),
    ] = None
    activation: Annotated[
        str | None,
        typer.Option(help="softmax or sigmoid of a program's outputs; default: that of --spec, or none."),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting: FIELD=VALUE of the network of --spec; repeatable."),
    ] = None
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="Inputs to choose golden ones from: float32 rows as .npy, or texts as .txt, one a line; default: "
            "random numbers, or four sentences."
        ),
    ] = None

    @property
    def given(self) -> str:
        """Names of those that are set."""
        set_names = (field.name for field in fields(self) if getattr(self, field.name))
        return ", ".join("--set" if name == "settings" else f"--{name}" for name in set_names)

    def write_run(self, path: Path, folder: Path) -> tuple[str, str]:
        """Write a file's run folder; return the name of the model and the file of its handler."""
        from nautilus_torchserve.training.artefacts.run import Interface, write_artefact_run  # torch takes a second

        if self.spec is not None and (self.outputs or self.columns or self.activation):
            raise InvalidArgument(
                "expected --spec, or --outputs, --columns and --activation, which say the same, got both"
            )
        if self.activation not in (None, *ACTIVATIONS):
            raise InvalidArgument(f"expected --activation of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        spec = None if self.spec is None else spec_of(self.spec)
        settings = dict(map(_setting, self.settings or []))
        interface = Interface(self.name, spec, _names(self.outputs), _names(self.columns), self.activation, settings)
        inputs = None if self.inputs is None else _read_inputs(self.inputs)
        description = write_artefact_run(path, folder, interface, inputs)
        return description["model"], GENERIC_HANDLER if spec is None else spec.handler


@app.command()
def main(
    model: Annotated[
        str,
        typer.Argument(
            help=f"Model of a run ({', '.join(MODELS)}, package.module:NAME or FILE.py of a spec), or a trained model: "
            "a state_dict or checkpoint, safetensors, TorchScript, ONNX or torch.export file, a Hugging Face folder."
        ),
    ],
    file: FileOptions,
    run: Annotated[Path | None, typer.Option(help="Run folder: what `train` wrote; default: runs/MODEL.")] = None,
    version: ArchiveVersion = "1.0",
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
    with console.status(escape(f"Packing {model}")):
        if model in MODELS or ":" in model or model.endswith(".py"):
            if file.given:
                raise InvalidArgument(f"expected {file.given} with a file of a trained model, got the spec {model}")
            run = run or Path("runs") / spec_of(model).name
            built = build_archive(model, run, version, out, sign_key, code or [])
        elif run is not None:
            raise InvalidArgument(f"expected --run with a spec, got the trained model {model}")
        else:
            with tempfile.TemporaryDirectory(prefix="run-") as folder:
                name, handler = file.write_run(Path(model), Path(folder))
                built = pack_run(name, handler, Path(folder), version, out, sign_key, code or [])
    if as_json:
        print_json(asdict(built))
    else:
        signed = f"signed by key {built.key_id}" if built.key_id else "unsigned"
        size = f"{built.bytes / 1024:.0f} KiB"
        echo(f"{built.path}: {built.model} {version}, {size}, digest {built.digest[:12]}, {signed}")


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
