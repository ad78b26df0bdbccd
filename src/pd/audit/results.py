"""What an audit finds: the schema of `audit.json`. A mark on a field says that it may be released.

What is marked, and why it is safe:

- rates, counts, scores and intervals over all samples, all members or all strangers: they say how much leaks, and of nobody;
- names of attackers, features and of pd's own kinds of planted leaks; label values, which are numbers;
- names of the labels in `shared.labels`, those that enough members carry (`pd.dataset.shared`), and of no others;
- what the filter costs by label: drop rates of candidates, whose labels come from prompts that several people share;
- how unevenly the filter's cost falls on people (one Gini coefficient), and how many members are resembled at all.

What is not: every figure of a single person (`ByIdentity.worst`), which pictures and people the released data come closest to
(`Closest`), usefulness and drop rates by the labels of real people (`Utility.subgroups`, `Cost.strangers_by_label`: a rare
value may be one person's).

A figure that was not measured is None, or says why; a figure is written only where it was set.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from pd.audit.estimate import Estimate
from pd.audit.figures import BY_LABEL, BY_NAME, PUBLIC, Figures, NotMeasured, Public
from pd.audit.judged import Verdict
from pd.errors import UserError

VERSION = 2
"""Of this schema. It rises when a figure's meaning or place changes, not when one is added. 2: coverage by the real radius."""

Rate = Annotated[Estimate | None, PUBLIC]
Number = Annotated[float | None, PUBLIC]
Count = Annotated[int | None, PUBLIC]
Words = Annotated[str | None, PUBLIC]


class Power(Figures):
    """What an attack could have seen: see `pd.audit.able`."""

    copies: Rate = None
    other_pictures: Rate = None
    detectable: Number = None
    planted: Number = None
    detectable_other: Number = None
    planted_other: Number = None
    blind: Annotated[bool, PUBLIC] = False
    words: Words = None


class Rates(Figures):
    """Excess re-identification by one attacker: see `pd.audit.reidentification`."""

    main: Rate = None
    control: Rate = None
    excess: Rate = None
    like_holdout: Rate = None
    unlike: Rate = None
    people_hit: Count = None
    power: Annotated[Power | None, PUBLIC] = None


class AttackerRates(Rates):
    """The same, beside others'; `voted`: the attacker's family voted in the filter."""

    voted: Annotated[bool, PUBLIC] = False


class Reidentified(Rates):
    """The worst attacker's rates, the excess of all that had no vote, and everybody's."""

    attacker: Words = None
    toward_holdout: Rate = None
    says_nothing: Words = None
    by_attacker: Annotated[dict[str, AttackerRates], BY_NAME] = {}


class RealReidentified(Reidentified):
    """Of real pictures: what the instruments can see at all. `share_kept`: by attacker, after the autoencoder."""

    n: Count = None
    share_kept: Annotated[dict[str, Estimate | None], BY_NAME] = {}


class Membership(Figures):
    """How well an attack tells members from hold-out people: see `pd.audit.membership`."""

    auc: Rate = None
    tpr_at_1: Annotated[Estimate | NotMeasured | None, PUBLIC] = None
    members: Count = None
    holdout: Count = None


class LikelihoodRatio(Membership):
    """By so many shadow models."""

    shadows: Count = None
    variant: Words = None


class ModelAttacks(Figures):
    """Membership inference on a model."""

    loss: Annotated[Membership | NotMeasured | None, PUBLIC] = None
    likelihood_ratio: Annotated[LikelihoodRatio | NotMeasured | None, PUBLIC] = None


class BestMatch(Membership):
    """By the attacker with the largest AUC, and everybody's AUC."""

    attacker: Words = None
    by_attacker: Annotated[dict[str, Estimate], BY_NAME] = {}


class BestMatches(Figures):
    """By single samples, and by means of each one's fellows."""

    single: Annotated[BestMatch | None, PUBLIC] = None
    averaged: Annotated[BestMatch | None, PUBLIC] = None


class Copies(Figures):
    """Samples that are somebody's picture, repeated or not."""

    members: Rate = None
    control: Rate = None
    excess: Rate = None


class Extraction(Figures):
    """What is generated over and over, and is a member's picture; where that could not be seen, `why`, and copies alone."""

    why: Words = None
    extracted: Rate = None
    control: Rate = None
    excess: Rate = None
    images_extracted: Count = None
    cliques: Count = None
    copies: Annotated[Copies | None, PUBLIC] = None
    prompts: Count = None
    samples_per_prompt: Number = None


class Guessed(Figures):
    """How well a hidden attribute is guessed, AUC or correlation; `advantage`: of members over hold-out people."""

    members: Rate = None
    holdout: Rate = None
    advantage: Rate = None


class Attributes(Figures):
    """Attribute disclosure, and the label that is disclosed most."""

    worst: Annotated[str | None, Public(is_label=True)] = None
    by_label: Annotated[dict[str, Guessed], BY_LABEL] = {}
    skipped: Annotated[dict[str, str], BY_LABEL] = {}
    hidden_half: Annotated[Guessed | None, PUBLIC] = None


class Utility(Figures):
    """Macro AUC on real hold-out people of what learns from these images, over the labels that every arm can teach."""

    auc: Rate = None
    why: Words = None
    labels: Annotated[dict[str, float], BY_LABEL] = {}
    skipped: Annotated[dict[str, str], BY_LABEL] = {}
    subgroups: dict[str, dict[str, Estimate]] = {}


class Distance(Figures):
    """A distance between features, which are named; low to high of a kernel distance hold the values of `subset` images.

    `floor`: the same of as many real pictures of other people, or of all there are: what nothing generated comes below.
    """

    value: Annotated[float, PUBLIC]
    low: Annotated[float, PUBLIC]
    high: Annotated[float, PUBLIC]
    n: Annotated[int, PUBLIC]
    name: Words = None
    features: Words = None
    reference: Words = None
    n_real: Count = None
    resize: Words = None
    subset: Count = None
    floor: Rate = None


class Fidelity(Figures):
    """Distances to real members' images."""

    fid: Annotated[Distance | None, PUBLIC] = None
    kid: Annotated[Distance | None, PUBLIC] = None


class Coverage(Figures):
    """Coverage of people and of their images; `kept`: that of the samples which the filter keeps. `recall` is of version 1."""

    identities: Rate = None
    precision: Rate = None
    images: Rate = None
    recall: Rate = None
    k: Count = None
    compared: Count = None
    features: Words = None
    kept: "Coverage | NotMeasured | None" = None


class Adherence(Figures):
    """Agreement of samples with their prompts, by a named model."""

    score: Rate = None
    model: Words = None
    above_other_prompts: Rate = None


class Closest(Figures):
    """What of the released data comes closest to members, by an attacker and by pixels: by nothing that the filter decided by.

    Attributes:
        attacker: the one that finds most in the released data.
        samples: how many of them the audit attacked.
        by_attacker: (candidate, member image, likeness), the most similar first.
        by_pixels: the same by pixels; 1: the same picture, about 0: any other.
        people: (who, samples that pass for them, likeness of the most similar one, the member image it is like), most first.
    """

    attacker: str
    samples: int
    by_attacker: list[tuple[str, str, float]]
    by_pixels: list[tuple[str, str, float]]
    people: list[tuple[str, int, float, str]]

    @property
    def candidates(self) -> set[str]:
        """Those that are named."""
        return {row[0] for row in (*self.by_attacker, *self.by_pixels)}

    @property
    def real(self) -> set[str]:
        """The members' images that are named."""
        return {row[1] for row in (*self.by_attacker, *self.by_pixels)} | {row[3] for row in self.people}


class ArmResult(Figures):
    """What was found in one arm's samples, and what these are good for."""

    n: Count = None
    reid: Annotated[Reidentified | None, PUBLIC] = None
    best_match: Annotated[BestMatches | None, PUBLIC] = None
    extraction: Annotated[Extraction | None, PUBLIC] = None
    attributes: Annotated[Attributes | NotMeasured | None, PUBLIC] = None
    membership: Annotated[ModelAttacks | NotMeasured | None, PUBLIC] = None
    utility: Annotated[Utility | None, PUBLIC] = None
    fidelity: Annotated[Fidelity | None, PUBLIC] = None
    coverage: Annotated[Coverage | NotMeasured | None, PUBLIC] = None
    adherence: Annotated[Adherence | None, PUBLIC] = None
    closest: Closest | None = None


class LessThan(Figures):
    """How far the filtered arm's excess lies below another's, by that one's worst attacker."""

    attacker: Words = None
    value: Annotated[float, PUBLIC]
    low: Annotated[float, PUBLIC]
    high: Annotated[float, PUBLIC]
    n: Count = None


class People(Figures):
    """How many pictures and people played which part."""

    members: Count = None
    member_identities: Count = None
    strangers: Count = None
    stranger_identities: Count = None
    attackers_learnt_from: Count = None


class Strong(Figures):
    """The set of attackers that `strong` stands for: see `pd.audit.attackers.strong`.

    Attributes:
        chosen: the set, the one that finds most first.
        found: share of the planted leaks that each of all attackers finds.
        together: that the set finds.
        blur: of the samples and of what was planted, share of the side.
        planted: how many leaks were planted.
    """

    chosen: Annotated[list[str], BY_NAME] = []
    found: Annotated[dict[str, float], BY_NAME] = {}
    together: Number = None
    blur: Number = None
    planted: Count = None


class RealResult(Figures):
    """The scale of the arms' figures: the same of real images, and what the instruments can see."""

    alpha: Number = None
    strangers: Count = None
    n: Annotated[People | None, PUBLIC] = None
    member: Annotated[RealReidentified | None, PUBLIC] = None
    round_trip: Annotated[RealReidentified | None, PUBLIC] = None
    planted: Annotated[dict[str, Estimate], BY_NAME] = {}
    strong: Annotated[Strong | None, PUBLIC] = None
    public: Count = None
    utility: Annotated[Utility | None, PUBLIC] = None
    fidelity: Annotated[Fidelity | None, PUBLIC] = None
    coverage: Coverage | NotMeasured | None = None


class Curves(Figures):
    """What a detector does at each threshold: see `pd.audit.tripartite`."""

    thresholds: Annotated[list[float], PUBLIC] = []
    sensitivity: Annotated[dict[str, list[float]], BY_NAME] = {}
    specificity: Annotated[list[float], PUBLIC] = []
    kept: Annotated[list[float], PUBLIC] = []


class NearCopy(Figures):
    """The near-copy detector's curves and threshold."""

    curves: Annotated[Curves | None, PUBLIC] = None
    chosen: Number = None


class AtPoint(Figures):
    """A filter as it is set: shares dropped by kind of planted leak, share of strangers' images kept."""

    sensitivity: Annotated[dict[str, Estimate], BY_NAME] = {}
    specificity: Rate = None


class Agreement(Figures):
    """Agreement of filters that differ in their seeds alone; least and largest of any pair."""

    kappa: Rate = None
    jaccard: Rate = None
    kappa_of_pairs: Annotated[list[float], PUBLIC] = []
    jaccard_of_pairs: Annotated[list[float], PUBLIC] = []
    seeds: Count = None


class Consistency(Agreement):
    """The same, and that of their networks alone."""

    networks: Annotated[Agreement | None, PUBLIC] = None


class ByIdentity(Figures):
    """How the filter treats what resembles single people: shares dropped of the hardest hit, and how uneven they are."""

    worst: list[tuple[str, Estimate]] = []
    gini: Number = None


class Cost(Figures):
    """Who pays for the filter: shares dropped by label and value, of candidates and of strangers' images, and by person."""

    by_label: Annotated[dict[str, dict[str, Estimate]], Public(("label", "value"))] = {}
    strangers_by_label: dict[str, dict[str, Estimate]] = {}
    by_identity: Annotated[ByIdentity | None, PUBLIC] = None


class FilterResult(Figures):
    """What the filter did, what it catches and what it costs."""

    candidates: Count = None
    kept: Count = None
    threshold: Number = None
    dropped: Annotated[dict[str, int] | None, BY_NAME] = None
    curves: Annotated[Curves | NotMeasured | None, PUBLIC] = None
    chosen: Number = None
    near_copy: Annotated[NearCopy | None, PUBLIC] = None
    at_chosen: Annotated[AtPoint | None, PUBLIC] = None
    consistency: Annotated[Consistency | NotMeasured | None, PUBLIC] = None
    cost: Annotated[Cost | NotMeasured | None, PUBLIC] = None


class Shown(Figures):
    """Share of samples that show a planted canary, for each number of repetitions."""

    teacher: Annotated[list[Estimate], PUBLIC] = []
    student: Annotated[list[Estimate], PUBLIC] = []


class Fingerprints(Shown):
    """The same beside another canary that was planted nowhere."""

    repetitions: Annotated[list[int], PUBLIC] = []
    control: Annotated[Shown | None, PUBLIC] = None
    members: int | None = None
    false_positive_rate: float | None = None
    clean: int | None = None
    canaries: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _older_names(cls, given: object) -> object:
        """Files of an older pd."""
        older = {"doses": "repetitions", "unmarked": "clean", "marks": "canaries"}
        return {older.get(key, key): value for key, value in given.items()} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _one_share_each(self) -> "Fingerprints":
        if {len(self.teacher), len(self.student)} != {len(self.repetitions)}:
            raise ValueError("there is not one share for each number of repetitions")
        return self


class Shared(Figures):
    """Labels that at least k members carry, so that they may be named."""

    k: Count = None
    labels: Annotated[list[str], PUBLIC] = []


class FewLabels(Figures):
    """What a recipient with few real labels gains from the release: see `pd.audit.few_labels`. All of it is private.

    Attributes:
        arm: whose samples he got.
        label: what is told.
        sizes: how many real labels he has.
        curves: `real`, `reverse` and `both` -> AUC on hold-out people of each size.
        synthetic: AUC without a real label.
        tested: images that he is judged on.
    """

    arm: str
    label: str
    sizes: list[int]
    curves: dict[str, list[Estimate]]
    synthetic: Estimate
    tested: int


class Looked(Figures):
    """How somebody's images were compared with the real ones: see `pd.stages.external`."""

    size: int
    mode: str
    shrunk: int
    coloured: int
    split_drawn: bool


class AuditResult(Figures):
    """All that an audit finds."""

    schema_version: Annotated[int, PUBLIC, Field(le=VERSION)] = VERSION
    arms: Annotated[dict[str, ArmResult], BY_NAME] = {}
    less_than: Annotated[dict[str, LessThan], BY_NAME] = {}
    real: Annotated[RealResult | None, PUBLIC] = None
    filter: Annotated[FilterResult | None, PUBLIC] = None
    fingerprints: Annotated[Fingerprints | NotMeasured | None, PUBLIC] = None
    shared: Annotated[Shared | None, PUBLIC] = None
    few_labels: FewLabels | NotMeasured | None = None
    images: Looked | None = None
    verdict: Verdict | None = None


def load(path: Path) -> AuditResult:
    """Read `audit.json`, a run's or a release's, or what `pd audit --out` wrote.

    Raises:
        UserError: it is none, or of a newer pd.
    """
    fix = "name a run folder, or a file that `pd audit --out` wrote"
    try:
        found = AuditResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        if any(one["loc"] == ("schema_version",) for one in error.errors(include_input=False)):
            raise UserError("this audit is of a newer pd", code="no-audit", where=str(path), fix="use that one") from None
        raise UserError("this is no audit", code="no-audit", where=str(path), fix=fix) from None
    if "arms" not in found.model_fields_set:
        raise UserError("this is no audit", code="no-audit", where=str(path), fix=fix)
    return found
