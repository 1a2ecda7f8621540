"""Which cards a torch build runs on, by NVIDIA's compatibility rules."""

import pytest
import torch

from nautilus_torchserve.inference.model import choose_device, has_kernels

CUDA_12_1 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
CUDA_12_8 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("card", "capability", "archs", "runs"),
    [
        ("RTX 5090 with the image's old torch", (12, 0), CUDA_12_1, False),
        ("RTX 5090", (12, 0), CUDA_12_8, True),
        ("H200", (9, 0), CUDA_12_8, True),
        ("RTX 4090 on sm_86 code", (8, 9), CUDA_12_8, True),
        ("A100 without sm_80", (8, 0), ["sm_86"], False),
        ("PTX is compiled for a later card", (12, 0), ["sm_90", "compute_90"], True),
        ("but not for an earlier one", (8, 0), ["compute_90"], False),
        ("Hopper's own features", (9, 0), ["sm_90a"], True),
        ("V100 is no longer built for", (7, 0), CUDA_12_8, False),
    ],
)
def test_compute_capability(card: str, capability: tuple[int, int], archs: list[str], runs: bool) -> None:
    assert has_kernels(capability, archs) is runs


def test_without_a_gpu_the_cpu_computes() -> None:
    assert choose_device(None) == torch.device("cpu")
    if not torch.cuda.is_available():
        assert choose_device(0) == torch.device("cpu")
