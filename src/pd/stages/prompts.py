"""The prompts of a run, as every stage that samples a model asks for them."""

from pd.config import Settings
from pd.dataset.private import PrivateDataset
from pd.filters.prompts import Prompts, choose_prompts


def prompts_of(real: PrivateDataset, settings: Settings) -> Prompts:
    """Captions that at least `generate.prompt_k` members share, with the labels that they imply."""
    members = real.members()
    return choose_prompts(members.captions, members.identities, members.labels, settings.generate.prompt_k)
