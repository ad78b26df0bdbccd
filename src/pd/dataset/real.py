"""The private images as all later stages read them: with the labels that the settings ask for."""

from pd.config import Settings
from pd.dataset.private import PrivateDataset
from pd.dataset.worked_out import report_labels, worked_out
from pd.store.run import Run


def as_given(real: PrivateDataset, settings: Settings) -> PrivateDataset:
    """The same images; -1 and blanks as `data` says."""
    return report_labels(real, settings.data.uncertain, settings.data.unmentioned)


def with_labels(real: PrivateDataset, run: Run, settings: Settings) -> PrivateDataset:
    """The same images as given, with what the stage `labels` worked out, where there is one."""
    read = as_given(real, settings)
    return worked_out(read, run.labels) if settings.labels is not None else read


def real_words(run: Run, settings: Settings) -> PrivateDataset:
    """All but the pixels, as `PrivateDataset.read_words`."""
    return with_labels(PrivateDataset.read_words(run.dataset), run, settings)


def real_images(run: Run, settings: Settings) -> PrivateDataset:
    """With pixels, as `PrivateDataset.open`."""
    return with_labels(PrivateDataset.open(run.dataset), run, settings)
