"""The student: it sees queries, the noisy answers to them, and pictures of a generator. All of it has been paid for.

L = CE(few) + steady * (KL along latents, or along tangent and normal directions) + steady * H(predictions on the many)
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from pd.classifier.generated import latents, load_generator
from pd.classifier.tangent_normal import divergence, normal, tangent
from pd.classifier.vae import Vae, load_vae, neighbours
from pd.classify.inputs import Inputs, batch_rows, shape, tensor
from pd.classify.networks import build
from pd.classify.task import digest_of_array, save_classifier
from pd.config import digest_of
from pd.config.classifier import ClassifierSettings
from pd.training import ranks as of_ranks
from pd.training.task import Batch, Facts, Ranks, Task


class StudentTask(Task):
    """Learns from the few that were answered, and is steady on the many that nobody was asked about.

    Args:
        settings: of the section `classifier`; its method says whether and how there are many.
        few: queries that were answered.
        targets: (n, C) float32.
        generator: folder of what makes the many; None: an untrained one.
        vae: folder of their autoencoder; None: an untrained one.
        seed: of weights and draws.
        key: names few and many.
    """

    def __init__(
        self,
        settings: ClassifierSettings,
        few: Inputs,
        targets: npt.NDArray[np.float32],
        generator: Path | None,
        vae: Path | None,
        seed: int,
        key: str,
    ) -> None:
        self.settings, self.few, self.targets, self.seed = settings, few, targets, seed
        self.generator, self.vae = generator, vae
        how = settings.model_dump(mode="json", include={"method", "width", "batch", "latent", "tangent", "normal", "steady"})
        self.key = digest_of(["student", key, digest_of_array(targets), seed, settings.student.model_dump(mode="json"), how])

    @property
    def many(self) -> bool:
        """Whether pictures that nobody was asked about count."""
        return self.settings.method in ("vae", "tangent_normal")

    def build(self) -> nn.Module:
        parts = {"student": build(shape(self.few), self.targets.shape[1], self.seed, self.settings.width)}
        if self.many:
            parts["generator"] = load_generator(self.generator, self.settings, shape(self.few), self.seed)
            parts["vae"] = load_vae(self.vae, self.settings, shape(self.few), self.seed)
        return nn.ModuleDict(parts)

    def batch(self, step: int, rank: int, world: int) -> Batch:
        how = self.settings
        whole = batch_rows(self.seed, step, len(self.few), how.batch)
        rows = whole[of_ranks.share_of(len(whole), rank, world)]
        # a rank may have one row more than another: each row counts alike over all of them
        weight = torch.tensor(world / len(whole))
        found = {"inputs": tensor(self.few, rows), "targets": torch.from_numpy(self.targets[rows]), "weight": weight}
        if self.many:
            mine = of_ranks.share_of(how.batch, rank, world)
            drawn = latents(2 * how.batch, how.latent, self.seed + 1, step)
            off = latents(how.batch, int(np.prod(shape(self.few))), self.seed + 2, step)
            found |= {"latents": drawn[: how.batch][mine], "start": drawn[how.batch :][mine]}
            found |= {"off": off.view(how.batch, *shape(self.few))[mine]}
        return found

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        assert isinstance(module, nn.ModuleDict)
        student, how = module["student"], self.settings
        losses = functional.cross_entropy(student(batch["inputs"]), batch["targets"], reduction="none")
        few = (losses * batch["weight"]).sum()
        if not self.many:
            return {"loss": few}
        vae = module["vae"]
        assert isinstance(vae, Vae)
        with torch.no_grad():
            pictures = module["generator"](batch["latents"])
        if how.method == "vae":
            moves = [neighbours(vae, pictures, batch["start"], how.tangent)]
        else:
            moved = tangent(student, vae, pictures, batch["start"], how.tangent)
            moves = [moved, normal(student, pictures, moved, batch["off"], how.normal)]
        logits = student(pictures)
        apart = torch.stack([divergence(logits, student(pictures + move)) for move in moves]).sum()
        unsure = -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()
        # batches of generated pictures divide among ranks as evenly as can be
        share = len(pictures) * ranks.world / how.batch
        many = how.steady * share * (apart + unsure)
        return {"loss": few + many, "few": few.detach(), "steady": apart.detach(), "unsure": unsure.detach()}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        assert isinstance(module, nn.ModuleDict)
        save_classifier(module["student"], shape(self.few), self.targets.shape[1], self.settings.width, folder)
        return {}
