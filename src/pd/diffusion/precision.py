"""Which precision a training takes where its settings leave it to the machine."""

from typing import Literal

import torch

from pd.config import Precision


def resolve(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """`auto`: bfloat16 where matrix units multiply it (AMX of a CPU, a GPU from Ampere on), else float32."""
    if precision != "auto":
        return precision
    quick = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _matrix_units()
    return "bf16" if quick else "fp32"


def _matrix_units() -> bool:
    return bool(torch.cpu._is_amx_tile_supported())
