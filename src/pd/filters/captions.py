"""What is said of the members' images: the same words for training the teacher and for asking models for samples."""

from pd.config import Settings
from pd.dataset.private import PrivateDataset
from pd.filters.prompts import Prompts, choose_prompts, generalise
from pd.filters.report_phrases import report_prompts


def captions_of(members: PrivateDataset, settings: Settings) -> list[str]:
    """The members' captions, made general where fewer than `generate.prompt_k` people share one."""
    k, generic = settings.generate.prompt_k, settings.data.generic
    if settings.data.caption == "report":
        return report_prompts(members.captions, members.identities, k, generic).prompts
    return generalise(members.captions, members.identities, members.labels, k, generic)


def prompts_of(real: PrivateDataset, settings: Settings) -> Prompts:
    """Captions that at least `generate.prompt_k` members share, with the labels that they imply."""
    members = real.members()
    captions = captions_of(members, settings)
    how = settings.generate
    return choose_prompts(captions, members.identities, members.labels, how.prompt_k, balanced=how.balance_prompts)
