"""The audit, in this process."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pd.audit import results
from pd.audit.attackers.base import Attacker
from pd.audit.estimate import Estimate
from pd.audit.run import audit as attack_arms
from pd.report.gate import verdict_words
from pd.stages.few_labels import worth_of_few
from pd.stages.limits import MEASURES
from pd.stages.public import public_people
from privacy_distillation.inputs import as_images, as_people, drawn, reporter, settings_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

ARM = "synthetic"


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes:
        figures: every figure, typed (`pd.audit.results`).
        verdict: what they mean, in words.
    """

    figures: results.AuditResult
    verdict: str

    @property
    def arm(self) -> results.ArmResult:
        """The figures of the images."""
        return self.figures.arms[ARM]

    def to_frame(self) -> "DataFrame":
        """A data frame with a row for each measure: `measure`, `attacker`, `value`, `low`, `high` (95 %), `n`."""
        from pandas import DataFrame

        rows = [(name, who, figure.value, figure.low, figure.high, figure.n) for name, who, figure in self._figures()]
        return DataFrame(rows, columns=["measure", "attacker", "value", "low", "high", "n"])

    def plot(self) -> "Figure":
        """The intervals of all measures; the line at 0 is where nobody is given away."""
        from matplotlib.figure import Figure

        rows = list(self._figures())[::-1]
        figure = Figure(figsize=(7, 0.4 * len(rows) + 1), layout="constrained")
        axes = figure.add_subplot()
        for at, (_, _, found) in enumerate(rows):
            axes.plot([found.low, found.high], [at, at], color="tab:blue")
            axes.plot(found.value, at, "o", color="tab:blue")
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [f"{name} ({who})" if who else name for name, who, _ in rows])
        axes.set_xlabel("beyond chance, with 95 % interval")
        return figure

    def save(self, file: str | Path) -> None:
        """Write the figures as JSON; `pd compare` reads them."""
        from pd.store.atomic import write_json

        write_json(Path(file), self.figures.as_json())

    def _figures(self) -> list[tuple[str, str, Estimate]]:
        """(measure, attacker, figure) of all that were measured."""
        found: list[tuple[str, str, Estimate]] = []
        for name, of in MEASURES.items():
            figure, _ = of(self.arm)
            if figure is not None:
                found.append((name, "", figure))
        for who, rates in (self.arm.reid.by_attacker if self.arm.reid else {}).items():
            if rates.excess is not None:
                found.append(("excess", who, rates.excess))
        return found

    def __repr__(self) -> str:
        return f"AuditResult: {self.verdict}"

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, and the table."""
        from html import escape

        return f"<p><b>{escape(self.verdict)}</b></p>{self.to_frame().round(4).to_html(index=False)}"


def audit(
    real: Any,
    synthetic: Any,
    *,
    attackers: Sequence[str | Attacker] | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AuditResult:
    """Attack images that a generator made, as `pd audit --real --synthetic` does.

    Args:
        real: what `load_people` gave, or a path. `splits` should say whom the generator learned from.
        synthetic: what `load_images` gave, or what it takes; `audit.samples` of them are attacked.
        attackers: names as in `audit.attackers`, or objects of your own with `name`, `fit` and `embed`
            (`pd.audit.attackers.base.Attacker`). None: the default ones.
        settings: keys of `audit`, such as `{"audit.bootstrap": 500}`.
        seed: of the halves of the hold-out people, of draws and resamples.
        progress: show it.

    Raises:
        UserError: too few people or images, an unknown attacker or key, images of another size than the people's.
    """
    data = as_people(real)
    chosen = settings_of(settings, seed, "audit", data)
    samples = as_images(synthetic, data, limit=chosen.audit.samples, seed=seed)
    samples = samples.take(drawn(len(samples), chosen.audit.samples, seed))
    with reporter(progress).task("audit") as told:
        public = public_people(chosen, data)
        figures = attack_arms(data, {ARM: samples}, None, chosen.audit, seed, told, public=public, attackers=attackers)
    if chosen.audit.utility == "semi_vit":
        with tempfile.TemporaryDirectory(prefix="pd-audit-") as folder:
            few = worth_of_few(data, ARM, samples, chosen, Path(folder), reporter(progress))
        figures = figures.model_copy(update={"few_labels": few})
    planted = figures.real.planted if figures.real else None
    return AuditResult(figures, verdict_words(figures.arms[ARM], split_drawn=data.split_drawn, planted=planted).words)
