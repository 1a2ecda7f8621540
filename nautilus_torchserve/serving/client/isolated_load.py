"""Loads archives as a worker would, in an interpreter that finds nothing but them and a server's packages.

Run by path with ``python -I -S``, by `release.build.isolated_proof`: it imports nothing of this
project. What it is asked,
one JSON object a line on stdin, it does in a process of its own each, forked when torch has been imported.
"""

import importlib
import json
import os
import sys
import traceback
from contextlib import suppress
from typing import Any

MOST_MESSAGE = 600


def serve(answers: Any) -> None:
    """Answer each line of stdin with one line."""
    import torch  # noqa: F401
    import ts.model_loader
    import ts.torch_handler.base_handler  # noqa: F401

    libraries: list[str] = []
    for line in sys.stdin:
        for name in libraries:  # those that the one before needed, not to import them in each process anew
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
        with os.fdopen(reader) as said:
            answer = said.read()
        _, status = os.waitpid(child, 0)
        if not answer:
            answer = json.dumps({"error": f"its process ended with status {status} while loading"})
        libraries = json.loads(answer).get("libraries", [])
        print(answer, file=answers, flush=True)


def load(folder: str, model: str, handler: str) -> dict[str, Any]:
    """Load an unpacked archive: what it says of itself, or what went wrong and where."""
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
    except BaseException as error:  # whatever the archive's code raises is reported
        return failure(error, folder)


def libraries_since(before: set[str]) -> list[str]:
    """Modules of installed packages that have been imported since."""
    files = {name: getattr(module, "__file__", None) or "" for name, module in list(sys.modules.items())}
    return [name for name, file in files.items() if name not in before and file.startswith(sys.argv[1] + os.sep)]


def failure(error: BaseException, folder: str) -> dict[str, Any]:
    """An error's type, words and place in the archive, and the module that it did not find."""
    if isinstance(error, ImportError) and (error.name or "").startswith("ts.torch_handler.") and error.__context__:
        error = error.__context__  # TorchServe looks there for a handler that it could not import
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    inside = [(os.path.relpath(file, folder), line) for file, line in places if file.startswith(folder + os.sep)]
    file, line = inside[-1] if inside else (None, None)
    words = " ".join(str(error).split()).replace(folder + os.sep, "")[:MOST_MESSAGE]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return {"error": f"{type(error).__name__}: {words}", "file": file, "line": line, "missing": missing}


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    answers_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    serve(answers_to)
