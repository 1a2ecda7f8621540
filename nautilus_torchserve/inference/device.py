"""The device that a model computes on."""

import torch

from nautilus_torchserve.user_error import UserError


class UnsupportedDevice(UserError):
    """This torch has no kernels for the GPU."""


def choose_device(gpu_id: int | None) -> torch.device:
    """Return the GPU of this number, where there is one; else the CPU.

    Raises
    ------
    UnsupportedDevice
        While loading instead of with a CUDA error at the first request.
    """
    if gpu_id is None or not torch.cuda.is_available():
        return torch.device("cpu")
    capability = torch.cuda.get_device_capability(gpu_id)
    if not has_kernels(capability, torch.cuda.get_arch_list()):
        raise UnsupportedDevice(
            f"{torch.cuda.get_device_name(gpu_id)} (compute capability {capability[0]}.{capability[1]}): expected "
            f"kernels in torch {torch.__version__}, got those for {', '.join(torch.cuda.get_arch_list())}"
        )
    return torch.device(f"cuda:{gpu_id}")


def has_kernels(capability: tuple[int, int], arch_list: list[str]) -> bool:
    """Return whether code built for these architectures runs on a card of this compute capability.

    ``sm_XY`` is machine code: it runs on the same major version with an equal or higher minor
    one. ``compute_XY`` is PTX, compiled by the driver for any later card (CUDA C++ Programming
    Guide, "Application Compatibility").
    """
    for arch in arch_list:
        kind, _, digits = arch.partition("_")
        number = digits.rstrip("af")  # sm_90a: for that architecture's own features
        major, minor = int(number[:-1]), int(number[-1])
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return False
