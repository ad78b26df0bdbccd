"""CLIP's tokenizer without a download: its vocabulary travels inside open_clip.

The file lists byte-pair merges. The vocabulary is the 256 byte characters, the same with an end-of-word mark, the first
48,894 merges, and two special tokens: 49,408 entries (Radford et al., arXiv 2103.00020).
"""

import gzip
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from pd.errors import UserError

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = 49_152 - 256 - 2
# Stable Diffusion's length. Shorter sequences would save about a twentieth of a training step of the `small` UNet, and
# bar users of the released model from longer prompts.
MAX_LENGTH = 77


def build() -> CLIPTokenizer:
    """CLIP's tokenizer; pads with the end token to 77, as Stable Diffusion's does."""
    vocabulary, merges = read_vocabulary()
    return CLIPTokenizer(
        vocab=dict(vocabulary),
        merges=list(merges),
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=MAX_LENGTH,
    )


@lru_cache(maxsize=1)
def read_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token ids by token, and merges in order of priority, from the file that open_clip bundles."""
    # find_spec: importing open_clip takes seconds, and the file is all that is wanted.
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "open_clip, which brings the tokenizer's vocabulary, is missing",
            code="missing-package",
            fix="pip install open-clip-torch",
        )
    path = Path(spec.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : MERGES + 1]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    characters = _byte_characters()
    tokens = [*characters, *(character + "</w>" for character in characters)]
    tokens += [left + right for left, right in merges]
    tokens += [START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def _byte_characters() -> list[str]:
    """A printable character for each byte (GPT-2's table), in the vocabulary's order: printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(others)]


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids (N, model_max_length) int64, cut and padded as stock StableDiffusionPipeline does."""
    return fit(tokenizer, token_ids(tokenizer, captions))


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> list[list[int]]:
    """Token ids of each caption, start and end included, as many as it has."""
    found: list[list[int]] = tokenizer(captions, padding=False, truncation=False, verbose=False).input_ids
    return found


def fit(tokenizer: CLIPTokenizer, ids: list[list[int]]) -> Tensor:
    """Ids as `token_ids` gives them, (N, model_max_length) int64: short ones padded, long ones cut before their end token."""
    length: int = tokenizer.model_max_length
    rows = [row + [tokenizer.pad_token_id] * (length - len(row)) for row in ids]
    rows = [row if len(row) == length else [*row[: length - 1], row[-1]] for row in rows]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(ids), length)
