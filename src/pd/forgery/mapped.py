"""Features of many clips, real or forged from them, as a function of rows: here, or by workers of a cluster."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pd.config import digest_of
from pd.dataset.images import Pixels
from pd.dataset.mapping import MakeRows
from pd.forgery.forgeries import forge
from pd.forgery.head import Features, features_of
from pd.forgery.naco import load_naco
from pd.forgery.windows import Footage
from pd.seeds import derive
from pd.store.files import digest_folder

ROW = pa.schema([("first", pa.list_(pa.int64())), ("rows", pa.list_(pa.list_(pa.float32())))])


@dataclass(frozen=True)
class ClipFeatures:
    """A row a clip: the first frames of its windows, and their features. A `RowFunction`.

    Attributes:
        footage: the clips.
        naco: folder of the pre-trained network.
        most: windows of a clip, at most.
        kind: of the forgery that is made of each clip first; empty: none.
        seed: of the forgeries.
    """

    footage: Footage
    naco: Path
    most: int
    kind: str = ""
    seed: int = 0

    @property
    def key(self) -> str:
        return digest_of([self.footage.digest, digest_folder(self.naco), self.most, self.kind, self.seed])

    @property
    def total(self) -> int:
        return len(self.footage)

    @property
    def batch(self) -> int:
        return 1

    @property
    def pixel_bytes(self) -> int:
        return int(self.footage.lengths.sum()) * self.footage.take(0, 0, 1).size if len(self.footage) else 0

    def open(self, device: str) -> MakeRows:
        net, window = load_naco(self.naco)
        net.to(device)

        def make(rows: range) -> pa.Table:
            made = []
            for row in rows:
                found = features_of(net, window, [self._clip(row)], self.most)
                made.append({"first": found.first.tolist(), "rows": found.rows.tolist() if len(found.first) else []})
            return pa.Table.from_pylist(made, ROW)

        return make

    def _clip(self, row: int) -> Pixels:
        clip = self.footage.whole(row)
        return forge(self.kind, clip, self.footage.whole(self._donor(row)), self.seed, row) if self.kind else clip

    def _donor(self, row: int) -> int:
        """A clip of another person, for what a forgery takes from one."""
        people = self.footage.people
        others = [other for other, who in enumerate(people) if who != people[row]]
        return others[derive(self.seed, "donor", self.kind, row) % len(others)]


def features_in(table: pa.Table) -> Features:
    """What `ClipFeatures` made, as arrays."""
    firsts = table["first"].to_pylist()
    clip = np.repeat(np.arange(len(firsts)), [len(one) for one in firsts]).astype(np.int64)
    rows = [row for one in table["rows"].to_pylist() for row in one]
    first = np.array([place for one in firsts for place in one], np.int64)
    return Features(np.array(rows, np.float32).reshape(len(rows), -1 if rows else 1), clip, first, len(firsts))
