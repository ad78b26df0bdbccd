"""The run folder: where everything lies, and which side of the privacy boundary it is on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """Paths of one run.

    `private/` holds real images or what they trained; `release/` may be given away; `work/` holds checkpoints and caches that a
    finished run does not need (private, too).
    """

    root: Path

    @property
    def private(self) -> Path:
        return self.root / "private"

    @property
    def release(self) -> Path:
        return self.root / "release"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def dataset(self) -> Path:
        """Real images and captions, Parquet."""
        return self.private / "dataset"

    @property
    def labels(self) -> Path:
        """Labels that were worked out, Parquet, and what is known of whoever gave them."""
        return self.private / "labels"

    @property
    def screen(self) -> Path:
        """Which clips look forged: a table, a page with their frames, figures."""
        return self.private / "screen"

    @property
    def reid(self) -> Path:
        """The re-identification network, the member gallery and the thresholds."""
        return self.private / "reid"

    @property
    def teacher(self) -> Path:
        """The teacher, a diffusers folder."""
        return self.private / "teacher"

    @property
    def generated(self) -> Path:
        """Candidates with every score, before any decision, in shards."""
        return self.private / "generated"

    @property
    def topped_up(self) -> Path:
        """Candidates made besides, in shards, and the names of those in use, where `generate` asks for them."""
        return self.private / "topped_up"

    @property
    def candidates(self) -> Path:
        """Candidates with scores and decisions."""
        return self.private / "candidates"

    @property
    def filter_counts(self) -> Path:
        """How many candidates each filter dropped, and the thresholds."""
        return self.private / "filter.json"

    @property
    def sweep(self) -> Path:
        """The last search for thresholds: its trials, and the settings it chose."""
        return self.private / "sweep"

    @property
    def purged(self) -> Path:
        """What was removed of a finished run, if anything was."""
        return self.private / "purged.json"

    @property
    def report(self) -> Path:
        return self.private / "report.html"

    @property
    def audit(self) -> Path:
        """All figures of the audit, those of single people too."""
        return self.private / "audit.json"

    @property
    def sweep_result(self) -> Path:
        """What the threshold search found, if one was made."""
        return self.sweep / "sweep.json"

    @property
    def fingerprints(self) -> Path:
        """What the run beside this one, whose images carry canaries, remembered of them, if it was made."""
        return self.root.with_name(f"{self.root.name}-fingerprints") / "private" / "fingerprints.json"

    @property
    def all_samples(self) -> Path:
        """Samples of every audited arm, a folder each."""
        return self.private / "samples"

    def samples(self, arm: str) -> Path:
        """Samples of one arm, Parquet with an image struct."""
        return self.all_samples / arm

    def arm(self, arm: str) -> Path:
        """The student of a comparison arm that is not released, a diffusers folder."""
        return self.private / "arms" / arm

    @property
    def kept(self) -> Path:
        """The kept candidates, Parquet: all that the student is given. Private until the audit has cleared them."""
        return self.private / "kept"

    @property
    def leaks(self) -> Path:
        """What the learned spaces leave of generated leaks, by quantile."""
        return self.private / "leaks.json"

    @property
    def student(self) -> Path:
        """The student, a diffusers folder. Private until the audit has cleared it."""
        return self.private / "student"

    @property
    def student_data(self) -> Path:
        """Samples of the student that passed the filter again, Parquet, where these are the data to release."""
        return self.private / "student_data"

    @property
    def decision(self) -> Path:
        """What was released, what was withheld, and why."""
        return self.private / "release.json"

    @property
    def model(self) -> Path:
        """The released student, a diffusers folder."""
        return self.release / "model"

    @property
    def data(self) -> Path:
        """The released images, Parquet."""
        return self.release / "data"

    @property
    def contents(self) -> Path:
        """What is in the release, where that is not both student and kept candidates."""
        return self.release / "contents.json"

    @property
    def release_audit(self) -> Path:
        """The figures that may be released."""
        return self.release / "audit.json"

    @property
    def release_report(self) -> Path:
        """The report of these figures, without private images."""
        return self.release / "report.html"

    @property
    def formal(self) -> Path:
        """The released model with a guarantee: diffusers folder, ledger, claim, card, samples."""
        return self.release / "formal"

    @property
    def classifier(self) -> Path:
        """The released classifier: weights, ledger, claim, lineage, card."""
        return self.release / "classifier"

    @property
    def classifier_audit(self) -> Path:
        """What the classifier gets right of hold-out people, and what attacks find of it. Private."""
        return self.private / "classifier.json"

    @property
    def classifier_ledger(self) -> Path:
        """What classifiers have spent of this data set's privacy, as `ledger` says it of models. Private."""
        return self.private / "ledger-classifier.json"

    @property
    def condensed(self) -> Path:
        """A few pictures a class from the kept candidates, Parquet and a sheet. Private until the audit has cleared them."""
        return self.private / "condensed"

    @property
    def release_condensed(self) -> Path:
        """The released ones."""
        return self.release / "condensed"

    @property
    def ledger(self) -> Path:
        """What has been spent of this data set's privacy, and which data set it is. Private."""
        return self.private / "ledger.json"

    @property
    def sums(self) -> Path:
        """The digests of all other files of the release."""
        return self.release / "SHA256SUMS"

    @property
    def signature(self) -> Path:
        """Of the digests, if a key was named."""
        return self.release / "SHA256SUMS.sig"

    @property
    def card(self) -> Path:
        return self.release / "README.md"

    def record(self, stage: str) -> Path:
        """What a finished stage says of itself."""
        return self.private / ".stages" / f"{stage}.json"
