"""Ends a training before it remembers (`stop: generalises`): what is looked at, and which checkpoint is taken.

Looked at are members and calibration people, whom the audit never measures. Rank 0 looks; all ranks stop together.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pd.audit.estimate import Estimate
from pd.audit.gap import Look, choose, look, reference
from pd.audit.membership import loss_scores
from pd.config import Settings, digest_of
from pd.dataset.private import PrivateDataset
from pd.diffusion.data import TrainingData
from pd.engine.training.dataset_reference import hand_over, receive
from pd.errors import UserError
from pd.seeds import derive
from pd.store.kept import at_hand, keep_json

IMAGES = 512  # looked at of members, and of calibration people, at most; ours
_WHO = "who.json"
_RULE = "half the steps"  # by which `pd.audit.gap` judges: under another one a training ends elsewhere


@dataclass(frozen=True, eq=False)
class LookedAt:
    """The pictures whose losses are compared. Private.

    Attributes:
        data: pictures and captions.
        ids: their names; with a seed they fix the noise.
        people: who is in each.
        members: (N,) whether the training learns from it.
    """

    data: TrainingData
    ids: list[str]
    people: list[str]
    members: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, real: PrivateDataset, settings: Settings) -> "LookedAt":
        """Members and calibration people of a run, at most IMAGES of each, drawn by the run's seed.

        Raises:
            UserError: fewer than two people of either.
        """
        from pd.audit.model_attacks import known_captions  # brings diffusers

        texts = known_captions(real, settings)
        calibration = set(real.holdout_half("calibration", settings.seed).ids)
        rows: list[npt.NDArray[np.int64]] = []
        for side in (set(real.members().ids), calibration):
            there = np.array([row for row, name in enumerate(real.ids) if name in side], np.int64)
            if len({real.identities[row] for row in there}) < 2:
                raise UserError(
                    "the losses of members and of calibration people cannot be compared: one of them are fewer than two people",
                    code="too-few-people",
                    where="teacher.stop",
                    fix="set teacher.stop: steps, or bring more people",
                )
            rows.append(np.random.default_rng(derive(settings.seed, "gap", str(len(rows)))).permutation(there)[:IMAGES])
        mask = np.zeros(len(real), dtype=bool)
        mask[np.concatenate(rows)] = True
        chosen = real.where(mask)
        return cls(
            TrainingData(chosen.images, [texts[name] for name in chosen.ids]),
            list(chosen.ids),
            list(chosen.identities),
            np.array([name not in calibration for name in chosen.ids]),
        )

    def fingerprint(self) -> str:
        """Equal for those that give equal looks."""
        return digest_of([_RULE, self.data.fingerprint(), self.ids, self.people, self.members.tolist()])

    def hand_over(self, folder: Path) -> None:
        """Write what `receive` reads, for the workers."""
        hand_over(self.data, folder)
        keep_json(folder / _WHO, {"ids": self.ids, "people": self.people, "members": self.members.tolist()})

    @classmethod
    def receive(cls, folder: Path) -> "LookedAt":
        """What `hand_over` was given."""
        data = receive(folder)
        who = json.loads((folder / _WHO).read_text(encoding="utf-8"))
        return cls(data, who["ids"], who["people"], np.array(who["members"], dtype=bool))


def look_at(model: Path, step: int, seen: LookedAt, looks: Path, seed: int, device: torch.device) -> Look:
    """Look at a checkpoint, once: what was found lies in `looks`, a file a step.

    Args:
        model: a diffusers folder.
        step: of the training; 0: the model before it.
        seen: whose losses.
        looks: a folder, with the looks at earlier steps.
        seed: of the noise, the same for all steps.
        device: that computes.
    """
    from pd.diffusion.row_losses import row_losses  # brings diffusers

    file = _file(looks, step)
    if not file.exists():
        losses = -loss_scores(row_losses(model, seen.data.images, seen.ids, seen.data.captions, seed=seed, device=str(device)))
        earlier = reference(step, [one.step for one in looks_in(looks)])
        before = None if earlier is None else np.array(json.loads(_file(looks, earlier).read_text(encoding="utf-8"))["losses"])
        found = look(step, losses, before, seen.people, seen.members)
        keep_json(file, {**asdict(found), "losses": losses.tolist()})
    return _read(file)


def looks_in(folder: Path) -> list[Look]:
    """All looks there are, in the order of steps."""
    return [_read(file) for file in sorted(at_hand(folder).glob("step_*.json"))]


def taken(looks: list[Look]) -> dict[str, int | list[list[float]]]:
    """What the looks come to, as facts.

    Returns:
        `stopped_at`, the step whose model is taken; `gap` and `memorised`: [step, value, low, high] of each checkpoint; and
        `remembers_at`, the step of the first that remembers, where there is one.
    """

    def rows(name: str) -> list[list[float]]:
        found = [(one.step, getattr(one, name)) for one in looks]
        return [[step, round(of.value, 4), round(of.low, 4), round(of.high, 4)] for step, of in found if of is not None]

    at = [one.step for one in looks if one.remembers][:1]
    facts: dict[str, int | list[list[float]]] = {"stopped_at": looks[choose(looks)].step}
    return {**facts, **({"remembers_at": at[0]} if at else {}), "gap": rows("gap"), "memorised": rows("memorised")}


def words(step: int, at: int | None, steps: int) -> str:
    """For people, which step is taken of so many, and why.

    Args:
        step: `stopped_at` of what `taken` gives.
        at: `remembers_at` of it; None: it has none.
        steps: that were asked for.
    """
    if at is None:
        return f"all {step:,} steps: it remembers at no checkpoint"
    if at == step:
        return f"step {step:,} of {steps:,}: already the first checkpoint remembers, set checkpoint_every lower"
    return f"step {step:,} of {steps:,}, the last checkpoint before it remembers"


def _file(looks: Path, step: int) -> Path:
    return looks / f"step_{step:08d}.json"


def _read(file: Path) -> Look:
    found = json.loads(file.read_text(encoding="utf-8"))
    memorised = Estimate(**found["memorised"]) if found["memorised"] else None
    return Look(found["step"], Estimate(**found["gap"]), memorised)
