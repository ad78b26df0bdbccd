"""The network of NACO: a small CNN looks at each frame, a Transformer at the row of them.

The CNN gives a grid of cells, the "spatial features" of a frame; a linear layer makes one token of a grid. The sizes are
ours: the paper's backbones are for large sets on GPUs.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = 4  # cells a side
CELL = 32  # features of a cell
EPSILON = 1e-3  # change of tokens below which nothing moves  # ours
NEAR = 10.0  # how much quicker than other weights the one that prefers near frames is learned  # ours


@dataclass(frozen=True)
class Seen:
    """What the network makes of windows.

    Attributes:
        cells: (n, T, GRID * GRID, CELL) of the frames, standardised within each cell.
        tokens: (n, T, d) after the Transformer.
        predicted: (n, T, GRID * GRID, CELL): the cells as the frames that are not masked let expect them.
        summary: (n, e), of length one: what the temporal contrast compares.
    """

    cells: Tensor
    tokens: Tensor
    predicted: Tensor
    summary: Tensor


class FrameNet(nn.Module):
    """(N, 3, S, S) -> (N, GRID * GRID, CELL), from any S of at least 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, made in ((3, width), (width, width), (width, 2 * width), (2 * width, 2 * width)):
            layers += [nn.Conv2d(given, made, 3, stride=2, padding=1), nn.GroupNorm(max(1, made // 8), made), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-3], nn.Conv2d(2 * width, CELL, 3, stride=2, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        found = F.adaptive_avg_pool2d(self.layers(images), GRID)
        return F.layer_norm(found.flatten(2).transpose(1, 2), (CELL,))


class ClipNet(nn.Module):
    """Frames to cells, cells to tokens, tokens of all frames to what each says in its clip.

    Args:
        width: channels of the CNN's first layers.
        dim: of tokens.
        layers: of the Transformer.
        heads: of each.
    """

    def __init__(self, width: int = 16, dim: int = 96, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.frame = FrameNet(width)
        self.token = nn.Linear(GRID * GRID * CELL, dim)
        self.mask = nn.Parameter(torch.zeros(dim))
        self.motion = nn.Sequential(nn.Conv1d(dim, dim, 3, padding=1), nn.ReLU(), nn.Conv1d(dim, dim, 1))
        # Without dropout, and weights that no fused kernel of evaluation mode reads: a window's result is its own.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.expect = nn.Linear(dim, GRID * GRID * CELL)
        self.asks, self.has = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.near = nn.Parameter(torch.zeros(()))
        for layer in (self.expect, self.asks):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.expect.bias)
        self.project = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 32))
        self.natural = nn.Parameter(torch.randn(32))

    def cells(self, clips: Tensor) -> Tensor:
        """(n, T, 3, S, S) in [-1, 1] -> (n, T, GRID * GRID, CELL)."""
        found: Tensor = self.frame(clips.flatten(0, 1))
        return found.view(*clips.shape[:2], *found.shape[1:])

    def look(self, cells: Tensor, masked: Tensor | None = None) -> Seen:
        """What rows of frames say.

        Args:
            cells: (n, T, GRID * GRID, CELL), as `cells` gives them; in any order of frames.
            masked: (n, T) bool, frames whose cells are hidden; None: none is.
        """
        n, frames = cells.shape[:2]
        tokens = self.token(cells.flatten(2))
        hidden = torch.zeros(n, frames, dtype=torch.bool, device=cells.device) if masked is None else masked
        shown = (~hidden).to(tokens)[:, :, None]
        # What changes over time, in units of how much changes: it is small beside who is shown (ours).
        moved = (tokens - (tokens * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True).clamp(min=1)) * shown
        size = (moved.square().mean((1, 2), keepdim=True) + EPSILON**2).sqrt()
        motion = self.motion((moved / size).transpose(1, 2)).transpose(1, 2)
        tokens = torch.where(hidden[:, :, None], self.mask, tokens) + motion + _positions(frames, tokens.shape[2]).to(tokens)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        # A prediction begins as the mean of the frames shown; which of them to look at, and what to add, is learned (ours).
        away = torch.arange(frames, device=cells.device)
        scores = self.asks(tokens) @ self.has(tokens).transpose(1, 2) / tokens.shape[2] ** 0.5
        scores = scores - NEAR * self.near * (away[:, None] - away[None, :]).abs()
        weights = scores.masked_fill(hidden[:, None, :], -math.inf).softmax(2)
        copied = (weights @ cells.detach().flatten(2)).view_as(cells)
        predicted = copied + self.expect(tokens).view_as(cells)
        summary = F.normalize(self.project(tokens.mean(1)), dim=1)
        return Seen(cells, tokens, predicted, summary)

    def naturalness(self, clips: Tensor) -> Tensor:
        """(n, T, 3, S, S) -> (n,) in [-1, 1]: how far windows lie in the natural direction."""
        return self.look(self.cells(clips)).summary @ F.normalize(self.natural, dim=0)

    def features(self, clips: Tensor) -> Tensor:
        """(n, T, 3, S, S) -> (n, 2 d): mean and deviation of the tokens over time, for a head."""
        tokens = self.look(self.cells(clips)).tokens
        return torch.cat([tokens.mean(1), tokens.std(1)], dim=1)


def build_clip_net(width: int, dim: int, layers: int, seed: int) -> ClipNet:
    """A network whose weights follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ClipNet(width, dim, layers)


def _positions(frames: int, dim: int) -> Tensor:
    """(frames, dim): sines and cosines of the place in the window (Vaswani et al. 2017)."""
    place = torch.arange(frames, dtype=torch.float32)[:, None]
    speed = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * (-math.log(10_000.0) / dim))
    return torch.stack([(place * speed).sin(), (place * speed).cos()], dim=2).flatten(1)[:, :dim]
