"""The processes of a TorchServe."""

import psutil


def is_torchserve(pid: int) -> bool:
    """Whether this process is a TorchServe that lives."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "org.pytorch.serve.ModelServer" in process.cmdline()
    except psutil.Error:
        return False


def family(pid: int) -> list[psutil.Process]:
    """The Java process and its workers."""
    if not is_torchserve(pid):
        return []
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
