"""Named sizes of a model that is trained from scratch: the UNet's shape and the text model's that goes with it.

`sd` has the shape of Stable Diffusion 2.1: 866 M parameters in the UNet, 340 M in the text model.
"""

from typing import Any

DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"

# diffusers reads `attention_head_dim` as the number of heads (diffusers#2011).
UNETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": (DOWN, CROSS_DOWN),
        "up_block_types": (CROSS_UP, UP),
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    },
    "small": {
        "block_out_channels": (64, 128),
        "layers_per_block": 1,
        "down_block_types": (DOWN, CROSS_DOWN),
        "up_block_types": (CROSS_UP, UP),
        "attention_head_dim": 4,
        "norm_num_groups": 16,
    },
    "medium": {
        "block_out_channels": (128, 256),
        "layers_per_block": 1,
        "down_block_types": (CROSS_DOWN, CROSS_DOWN),
        "up_block_types": (CROSS_UP, CROSS_UP),
        "attention_head_dim": 8,
        "norm_num_groups": 32,
    },
    "sd": {
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "down_block_types": (CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, DOWN),
        "up_block_types": (UP, CROSS_UP, CROSS_UP, CROSS_UP),
        "attention_head_dim": (5, 10, 20, 20),
        "norm_num_groups": 32,
        "use_linear_projection": True,
    },
}

TEXT_MODELS: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    "small": {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4},
    "medium": {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4},
    "sd": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
    },
}
