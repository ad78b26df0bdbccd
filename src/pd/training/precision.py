"""Which precision a training takes where its settings leave it to the machine."""

from typing import Literal

import torch

from pd.config import Precision
from pd.hardware import multiplies_bfloat16


def resolve(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """`auto`: bfloat16 where the hardware multiplies it (AMX or AVX-512 of a CPU, a GPU from Ampere on), else float32."""
    if precision != "auto":
        return precision
    quick = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else multiplies_bfloat16()
    return "bf16" if quick else "fp32"
