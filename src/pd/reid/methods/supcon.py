"""The supervised contrastive loss."""

import torch
from torch import Tensor

_TEMPERATURE = 0.1


def supervised_contrastive(embeddings: Tensor, who: Tensor, temperature: float = _TEMPERATURE) -> Tensor:
    """L_out of Khosla et al., "Supervised Contrastive Learning" (arXiv 2004.11362, eq. 2), as a scalar.

    Args:
        embeddings: (B, d) rows of unit length.
        who: (B,) integer identity of each row; a row alone of its identity does not count.
        temperature: divides the cosines.
    """
    own = torch.eye(len(who), dtype=torch.bool, device=who.device)
    logits = (embeddings @ embeddings.T / temperature).masked_fill(own, -torch.inf)
    log_share = logits - logits.logsumexp(1, keepdim=True)
    positive = (who[:, None] == who[None]) & ~own
    count = positive.sum(1)
    anchors = count > 0
    mean = log_share.masked_fill(~positive, 0.0).sum(1)[anchors] / count[anchors]
    return -mean.mean()
