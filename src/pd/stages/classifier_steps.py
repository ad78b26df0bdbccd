"""From labelled examples to a released classifier: of a run, or of anybody's images."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pd.classifier.canaries import twin
from pd.classifier.examples import Examples, examples, refuse_unfit
from pd.classifier.make import Order, make
from pd.classifier.onnx_file import onnx_bytes
from pd.classifier.plan import Plan, in_words, make_plan
from pd.classify.networks import build
from pd.classify.task import ClassifierTask, digest_of_array
from pd.config import ClassifierSettings, PublicSettings, Settings, digest_of
from pd.config.training import TrainingSettings
from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images
from pd.dataset.private import PrivateDataset
from pd.dataset.real import real_words
from pd.dp.canaries import LowerBound
from pd.dp.ledger import Epsilon, Ledger
from pd.engine.fit import fit
from pd.engine.fit_many import fit_many
from pd.errors import UserError
from pd.formal.make import key_of
from pd.formal.private_training import same_plan
from pd.formal.public import read_public, refuse_private
from pd.progress import Progress, Reporter
from pd.release.classifier import write_classifier
from pd.report.classifier_card import Compared, write_classifier_card
from pd.seeds import derive
from pd.store.atomic import write_folder
from pd.store.context import Context

Values = list[str | float | None]
# Settings that a begun making may be given anew: its weights are the same, up to rounding.
_FREE = {"shadows", "canaries", "onnx", "baseline", "sgd_micro_batch"}


@dataclass(frozen=True)
class Made:
    """A classifier, not yet released.

    Attributes:
        order: what from.
        folder: as `save_classifier` wrote it.
        baseline: DP-SGD at the same epsilon, likewise, and its plan; None: not asked for.
        bound: from canaries; None: not measured.
    """

    order: Order
    folder: Path
    baseline: tuple[Path, Plan] | None
    bound: LowerBound | None


def inputs(context: Context, how: ClassifierSettings) -> tuple[Examples, Pixels | None]:
    """What a run's classifier is made from: the members' examples, and public pictures where queries are public ones.

    Raises:
        UserError: it cannot be made of these people, labels or public pictures.
    """
    run, settings = context.run, context.settings
    real = real_words(run, settings)
    members = real.members()
    images = PrivateDataset.member_images(run.dataset)
    seed, k = context.seed("classifier"), settings.generate.prompt_k
    held = examples(images, values_of(members, how.label), members.identities, how, k, seed)
    return held, public_queries(settings, images, members.identities, real.identities)


def prepared(settings: ClassifierSettings, held: Examples, seed: int, reporter: Reporter) -> Plan:
    """The plan, and in words what it can be hoped to give.

    Raises:
        UserError: what is wrong.
    """
    plan = checked(settings, held, seed)
    weights = sum(value.numel() for value in _network(settings, held).parameters())
    reporter.say(f"  {in_words(settings, plan, len(held.classes), weights)}")
    if plan.reading == "paper":
        reporter.say("  not covered by any epsilon: the generator, which learns against a classifier of all private images")
    return plan


def checked(settings: ClassifierSettings, held: Examples, seed: int) -> Plan:
    """The plan, once everything that could be wrong has been looked at.

    Raises:
        UserError: what is wrong.
    """
    plan = make_plan(settings, held.people)
    refuse_unfit(held, settings, seed)
    if plan.reading == "paper" and not settings.accept_no_guarantee:
        raise UserError(
            "the published accounting of generated queries is no guarantee, and would be released",
            code="no-guarantee",
            where="classifier.accounting",
            fix="set accounting: sound, or accept_no_guarantee: true if that is what you want",
        )
    if settings.onnx:
        onnx_bytes(_network(settings, held), _shape(held))  # before the work: is the package there?
    return plan


def made(
    settings: ClassifierSettings,
    plan: Plan,
    held: Examples,
    public: Pixels | None,
    work: Path,
    seed: int,
    dataset: str,
    reporter: Reporter,
) -> Made:
    """Train, or go on.

    Args:
        settings: of the section `classifier`.
        plan: `prepared` gave it.
        held: the members.
        public: public pictures; None: there are none.
        work: the key, teachers, votes and checkpoints; private.
        seed: of everything that is no privacy noise.
        dataset: digest of the members' images.
        reporter: shows progress.

    Raises:
        UserError: another classifier was begun in `work`.
    """
    source = key_of(work, settings.reproducible, seed)
    digest = digest_of([dataset, digest_of_array(held.labels), digest_of_array(held.first), list(held.classes)])
    asked = [] if public is None else [digest_of_array(public)]
    of = digest_of([digest, seed, settings.model_dump(mode="json", exclude=_FREE), *asked])
    same_plan(work, plan, of)  # the same noise at two scales would give itself away
    plan.ledger.save(work / "ledger.json")  # before anything is spent
    order = Order(settings, plan, work, seed, digest, fit, many, public)
    folder = make(order, held, source, reporter.task)
    baseline: tuple[Path, Plan] | None = None
    if settings.baseline != "off" and settings.method != "dp_sgd":
        beside = settings.model_copy(update={"method": "dp_sgd", "accounting": "sound"})
        other, below = make_plan(beside, held.people), work / "baseline"
        key = key_of(below, settings.reproducible, derive(seed, "baseline"))
        same_plan(below, other, of)
        other.ledger.save(below / "ledger.json")
        where = replace(order, settings=beside, plan=other, work=below, digest=f"{digest} baseline")
        baseline = make(where, held, key, reporter.task), other
    bound = twin(order, held, reporter.task) if settings.canaries else None
    return Made(order, folder, baseline, bound)


def many(tasks: Sequence[ClassifierTask], how: TrainingSettings, work: Path, progress: Progress) -> list[Path]:
    """Teachers side by side; of their figures nothing is shown, for a loss of private data is no event of the ledger."""
    return fit_many(tasks, how, work, lambda done, total, info: progress(done, total, {}), gpus=how.gpus_per_worker)


def released_ledger(found: Made) -> Ledger:
    """Of what is released: the classifier, and the baseline where the card names it."""
    ledger = found.order.plan.ledger
    if found.order.settings.baseline == "card" and found.baseline is not None:
        return ledger.and_(found.baseline[1].ledger)
    return ledger


def released(out: Path, name: str, found: Made, held: Examples, compared: Compared | None) -> Epsilon:
    """Write the release folder, whole or not there.

    Args:
        out: becomes it.
        name: of the run, for the card.
        found: what was made.
        held: the members.
        compared: accuracy beside the baseline's; on the card only where that is paid for.
    """
    settings, plan = found.order.settings, found.order.plan
    ledger, told = released_ledger(found), compared if settings.baseline == "card" else None
    with write_folder(out) as folder:
        epsilon = write_classifier(
            folder,
            found.folder,
            held.classes,
            ledger,
            settings.delta,
            people=held.people,
            sound=plan.reading == "sound",
            accepted=settings.accept_no_guarantee,
            reproducible=settings.reproducible,
            onnx=settings.onnx,
            bound=found.bound,
        )
        write_classifier_card(
            folder / "README.md", name, settings, held.classes, _shape(held), ledger, epsilon, held.people, found.bound,
            told, settings.onnx,
        )  # fmt: skip
    return epsilon


def public_queries(settings: Settings, images: Images, who: Sequence[str], others: Sequence[str] = ()) -> Pixels | None:
    """Public pictures, where queries are public ones.

    Args:
        settings: of the run.
        images: (N, H, W, C) uint8, the private pictures.
        who: N names, who is in each.
        others: names of further private people.

    Raises:
        UserError: there are none, or private pictures or people are among them.
    """
    how = settings.classifier
    assert how is not None
    if not how.asks_public:
        return None
    section: PublicSettings | None = settings.public
    if section is None:
        raise UserError(
            "public queries, and no section `public`",
            code="bad-options",
            where="classifier.queries_from",
            fix="add one: public: {path: FOLDER}, or set method: generated",
        )
    if section.reader != "folder":
        raise UserError("public queries are read from a folder", code="bad-options", where="public.reader", fix="set folder")
    pictures = read_public(section.path, settings.data)
    if len(pictures) < how.queries:
        raise UserError(
            f"{how.queries} queries, and {len(pictures)} public pictures",
            code="too-few-images",
            where="classifier.queries",
            fix=f"ask {len(pictures)} or fewer, or add pictures to public.path",
        )
    shared = {path.name for path in section.path.rglob("*") if path.is_dir()} & {*who, *others}
    if shared:
        raise UserError(
            f"{len(shared)} folders of public pictures are named like private people",
            code="shared-people",
            where="public.path",
            fix="take these people out: who is private and public too has no guarantee",
        )
    refuse_private(pictures, images, who)
    return pictures


def values_of(real: PrivateDataset, name: str) -> Values:
    """A column of words or of numbers, None where it is missing.

    Raises:
        UserError: there is no such column.
    """
    if name in real.texts:
        return list(real.texts[name])
    if name in real.labels:
        return [None if value != value else float(value) for value in real.labels[name].tolist()]
    there = sorted({*real.texts, *real.labels})
    raise UserError(
        f"no column '{name}' in the data",
        code="no-such-column",
        where="classifier.label",
        fix=f"there are {', '.join(there[:10])}" if there else "give the images labels first",
    )


def cleared(work: Path) -> None:
    """Remove the key, votes and teachers: nobody can ask them again."""
    shutil.rmtree(work)


def _shape(held: Examples) -> tuple[int, ...]:
    _, height, width, channels = held.images.shape
    return channels, height, width


def _network(settings: ClassifierSettings, held: Examples):  # type: ignore[no-untyped-def]
    return build(_shape(held), len(held.classes), 0, settings.width)
