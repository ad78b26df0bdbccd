"""What came in, and what did not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pd.dataset.decode import SUFFIXES
from pd.dataset.readers.source import BadRow, plain
from pd.dataset.video_file import SUFFIXES as VIDEO
from pd.errors import UserError

_SHOWN = 5


@dataclass(frozen=True)
class IngestReport:
    """Counts and names of an ingest.

    Attributes:
        images: split -> usable images.
        identities: split -> people.
        bad: images set aside, in the source's order.
        lone: people with one usable image; re-identification can learn them only from altered views of it.
        ignored: files that are no images by their name, by suffix.
        left_out: files that are not pictures of people by what they say of themselves, by kind.
        of_clips: what was not taken of clips of video, by kind.
        default_captions: images without a caption of their own.
        enlarged: images smaller than `data.size`, which became up to twice as large.
        shrunk: images larger than `data.size`.
        coloured: images that `data.mode` made grey.
        split_drawn: nobody said who is a member, so that it was drawn at random.
        labels: names of the label columns.
        alike: groups of people whose names differ in case, spaces or leading zeros alone.
        notes: what else the custodian should know, by name.
    """

    images: Mapping[str, int]
    identities: Mapping[str, int]
    bad: Sequence[BadRow]
    lone: Sequence[str]
    ignored: Mapping[str, int]
    left_out: Mapping[str, int]
    default_captions: int
    enlarged: int
    shrunk: int
    coloured: int
    split_drawn: bool
    labels: Sequence[str]
    alike: Sequence[Sequence[str]] = ()
    of_clips: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def facts(self) -> dict[str, object]:
        """Figures without names, as JSON."""
        return {
            "images": dict(self.images),
            "identities": dict(self.identities),
            "bad": dict(by_reason(self.bad)),
            "identities_with_one_image": len(self.lone),
            "ignored_files": sum(self.ignored.values()),
            "left_out": dict(self.left_out),
            "default_captions": self.default_captions,
            "enlarged": self.enlarged,
            "shrunk": self.shrunk,
            "coloured": self.coloured,
            "split_drawn": self.split_drawn,
            "labels": list(self.labels),
            "identities_alike": sum(map(len, self.alike)),
            **({"of_clips": dict(self.of_clips)} if self.of_clips else {}),
        }

    def names(self) -> dict[str, object]:
        """The images set aside and the people with one image, by name, as JSON: for the custodian only."""
        bad = [{"name": row.name, "row": row.number, "reason": row.reason, "detail": row.detail} for row in self.bad]
        return {
            "bad": bad,
            "identities_with_one_image": list(self.lone),
            "identities_alike": [list(group) for group in self.alike],
            "ignored_files": dict(self.ignored),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For people at a terminal."""
        total, people = sum(self.images.values()), sum(self.identities.values())
        lines = [
            f"{total} images of {people} people: {self.identities['member']} members ({self.images['member']} images), "
            f"{self.identities['holdout']} held out ({self.images['holdout']} images)"
        ]
        if self.bad:
            lines.append(set_aside(self.bad))
        if self.alike:
            groups = _some([" and ".join(f"'{plain(name)}'" for name in group) for group in self.alike], "; ")
            lines.append(
                f"{groups}: different people here, for their names differ, but in case, spaces or leading zeros alone. "
                "Write them alike if they are one: else one may train while the other counts as a stranger"
            )
        if self.lone:
            lines.append(f"{len(self.lone)} people have one image: {_some([plain(name) for name in self.lone], ', ')}")
        lines += not_taken(self.ignored, self.left_out, self.of_clips)
        if self.default_captions:
            lines.append(f"{self.default_captions} images have no caption and get data.caption")
        if self.enlarged:
            lines.append(f"{self.enlarged} images are smaller than data.size and were enlarged, which makes nothing sharper")
        return [*lines, *self.notes]


def set_aside(bad: Sequence[BadRow]) -> str:
    """How many images cannot be used, why, and the first by name."""
    return f"{len(bad)} set aside ({counted(bad)}): {_some([str(row) for row in bad], '; ')}"


def not_taken(ignored: Mapping[str, int], left_out: Mapping[str, int], of_clips: Mapping[str, int]) -> list[str]:
    """What a source did not take, a line for each kind of thing; the arguments are as a `Source` counts them."""
    lines = []
    if ignored:
        kinds = ", ".join(f"{count} {plain(suffix)}" for suffix, count in sorted(ignored.items()))
        read = f"images by their name: {kinds} (read are {' '.join(SUFFIXES)}; DICOM by data.reader: dicom)"
        if of_clips:
            read = f"clips by their name: {kinds} (read are {' '.join(VIDEO)})"
        lines.append(f"left out, no {read}")
    if left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        lines.append(f"left out, no pictures of people by their headers: {kinds}")
    if of_clips:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(of_clips.items()) if count)
        lines.append(f"not taken of clips: {kinds or 'nothing'}")
    return lines


def by_reason(bad: Sequence[BadRow]) -> Counter[str]:
    """How many bad images there are of each kind."""
    return Counter(row.reason for row in bad)


def refuse_bad(bad: Sequence[BadRow], where: str) -> None:
    """Raise UserError where there are bad images: the first is named, all are counted."""
    if bad:
        what = f"{len(bad)} bad images ({counted(bad)}); the first: {bad[0]}"
        raise UserError(what, code="bad-image", where=where, fix="mend it, or set data.on_bad_image to skip")


def counted(bad: Sequence[BadRow]) -> str:
    """'3 truncated, 1 missing'."""
    return ", ".join(f"{count} {reason}" for reason, count in by_reason(bad).most_common())


def _some(names: Sequence[str], joint: str) -> str:
    more = f"{joint}and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return joint.join(names[:_SHOWN]) + more
