"""Captions as tokens, each distinct one once."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from pd.diffusion.tokenizer import fit, token_ids
from pd.errors import UserError


class CaptionTable:
    """The distinct captions of a data set; row 0 is the empty caption, which stands for a dropped one.

    A text encoder runs once per distinct caption of a batch, not once per image.

    Args:
        tokenizer: the model's.
        captions: one per image, N of them.
        truncate: cut captions that have more tokens than the model takes, as stock StableDiffusionPipeline does.

    Attributes:
        tokens: (U, L) int64, one row per distinct caption.
        rows: (N,) int64, each image's row in `tokens`.
        truncated: how many images have a caption that was cut.

    Raises:
        UserError: captions have more tokens than the model takes and are not to be cut; the first image is named, no text is.
    """

    def __init__(self, tokenizer: CLIPTokenizer, captions: Sequence[str], *, truncate: bool = False) -> None:
        distinct = ["", *sorted(set(captions) - {""})]
        position = {caption: row for row, caption in enumerate(distinct)}
        ids = token_ids(tokenizer, distinct)
        takes: int = tokenizer.model_max_length
        long = [image for image, caption in enumerate(captions) if len(ids[position[caption]]) > takes]
        if long and not truncate:
            raise UserError(
                f"{len(long)} of {len(captions)} captions have more than {takes} tokens, the longest {max(map(len, ids))}",
                code="bad-captions",
                where=f"the caption of training image {long[0]}, counted from 0",
                fix="shorten them, or set truncate_captions: true",
            )
        self.truncated = len(long)
        self.tokens: Tensor = fit(tokenizer, ids)
        self.rows: Tensor = torch.tensor([position[caption] for caption in captions], dtype=torch.int64)

    def batch(self, indices: Tensor, drop: Tensor) -> tuple[Tensor, Tensor]:
        """The captions of some images, some of them dropped.

        Args:
            indices: (B,) int64, images.
            drop: (B,) bool.

        Returns:
            tokens (u, L) int64, the distinct captions among them, and rows (B,) int64 into these.
        """
        return look_up(self.tokens, self.rows[indices], drop)


def look_up(table: Tensor, rows: Tensor, drop: Tensor) -> tuple[Tensor, Tensor]:
    """What some rows of a table hold, each distinct one once.

    Args:
        table: (U, ...), of distinct captions; row 0 is of the empty one.
        rows: (B,) int64, into the table.
        drop: (B,) bool, rows that become the empty one.

    Returns:
        (u, ...) what is among them, and (B,) int64 rows into it.
    """
    distinct, within = torch.unique(rows.masked_fill(drop, 0), return_inverse=True)
    return table[distinct], within


@torch.no_grad()
def embed(text_encoder: CLIPTextModel, tokens: Tensor, batch: int = 64) -> Tensor:
    """Embeddings (U, L, d) float32 of tokens (U, L) int64, on the encoder's device: what the UNet attends to."""
    parts = [text_encoder(part.to(text_encoder.device))[0].float() for part in torch.split(tokens, batch)]
    return torch.cat(parts)
