"""Loads archives as a worker would, in an interpreter that finds nothing but them and a server's packages.

`release.build.archive` runs it by path with ``python -I -S``: it imports nothing of this project. Each line on
stdin, a JSON object of the arguments of `load`, is answered by a process of its own, forked once torch is imported.
"""

import importlib
import json
import os
import sys
import traceback
from contextlib import suppress
from typing import Any

MAX_MESSAGE = 600


def serve(output: Any) -> None:
    """Answer each line of stdin with one line."""
    import torch  # noqa: F401
    import ts.model_loader
    import ts.torch_handler.base_handler  # noqa: F401

    libraries: list[str] = []
    for line in sys.stdin:
        for name in libraries:  # of the archive before, so that not every process imports them
            with suppress(ImportError):
                importlib.import_module(name)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as out:
                json.dump(load(**json.loads(line)), out)
                out.flush()
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            response = pipe.read()
        _, status = os.waitpid(child, 0)
        if not response:
            response = json.dumps({"error": f"its process ended with status {status} while loading"})
        libraries = json.loads(response).get("libraries", [])
        print(response, file=output, flush=True)


def load(folder: str, model: str, handler: str) -> dict[str, Any]:
    """Load an unpacked archive; return its metadata, or the error and its place."""
    import torch
    from ts.model_loader import ModelLoaderFactory

    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    before = set(sys.modules)
    try:
        service = ModelLoaderFactory.get_model_loader().load(
            model, folder, handler, 0 if torch.cuda.is_available() else None, 1
        )
        return {"metadata": service._entry_point.__self__.describe_handle(), "libraries": libraries_since(before)}
    except BaseException as error:  # the archive's code may raise anything, and all is reported
        return failure(error, folder)


def libraries_since(before: set[str]) -> list[str]:
    """Return the modules of installed packages that were imported since."""
    files = {name: getattr(module, "__file__", None) or "" for name, module in list(sys.modules.items())}
    return [name for name, file in files.items() if name not in before and file.startswith(sys.argv[1] + os.sep)]


def failure(error: BaseException, folder: str) -> dict[str, Any]:
    """Return an error's type, message and place in the archive, and the module that was missing."""
    if isinstance(error, ImportError) and (error.name or "").startswith("ts.torch_handler.") and error.__context__:
        error = error.__context__  # TorchServe looks there for a handler that it could not import
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    inside = [(os.path.relpath(file, folder), line) for file, line in places if file.startswith(folder + os.sep)]
    file, line = inside[-1] if inside else (None, None)
    message = " ".join(str(error).split()).replace(folder + os.sep, "")[:MAX_MESSAGE]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return {"error": f"{type(error).__name__}: {message}", "file": file, "line": line, "missing": missing}


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    output_file = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    serve(output_file)
