import time

import pytest
import torch

from pd.diffusion.peak import datasheet, peak_flops


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("Tesla T4", 65),
        ("Tesla V100-SXM2-16GB", 125),
        ("NVIDIA GeForce RTX 4090", 165),
    ],
)
def test_gpus_are_known_by_the_names_that_drivers_give_them(name: str, half: float) -> None:
    assert datasheet(name, "bf16") == half * 1e12
    single = datasheet(name, "fp32")
    assert single is not None
    assert single <= half * 1e12 / 1.9


def test_an_unknown_gpu_is_not_guessed() -> None:
    assert datasheet("Radeon L400", "bf16") is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_processor_is_measured_once_and_quickly(precision: str) -> None:
    before = torch.get_rng_state()
    begin = time.perf_counter()
    found = peak_flops(torch.device("cpu"), precision)  # type: ignore[arg-type]
    assert time.perf_counter() - begin < 5  # a quarter of a second, on a machine that does nothing else
    matrix = torch.ones(384, 384, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        torch.mm(matrix, matrix)
        seconds.append(time.perf_counter() - begin)
    assert found > 0.3 * 2 * 384**3 / min(seconds)
    assert peak_flops(torch.device("cpu"), precision) == found  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
