"""What is wrong with the sections `formal` and `classifier`, said once people are known and not after hours of work."""

from pd.config import FormalSettings
from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.formal.plan import Plan, make_plan
from pd.stages.classifier_steps import checked as checked_classifier
from pd.stages.classifier_steps import inputs
from pd.store.context import Context


def checked(formal: FormalSettings, people: int) -> Plan:
    """The plan of a formal model.

    Raises:
        UserError: it cannot be kept, or is no guarantee and nobody said that none is wanted.
    """
    plan = make_plan(formal, people)
    if plan.reading == "paper" and not formal.accept_no_guarantee:
        raise UserError(
            "dp_sad's published accounting is no guarantee, and would be released",
            code="no-guarantee",
            where="formal.accounting",
            fix="set accounting: sound, or accept_no_guarantee: true if that is what you want",
        )
    return plan


def refuse_formal(context: Context) -> None:
    """Raises UserError where the formal model could not be made of these people."""
    formal = context.settings.formal
    assert formal is not None
    checked(formal, len(set(PrivateDataset.read_words(context.run.dataset).members().identities)))


def refuse_classifier(context: Context) -> None:
    """Raises UserError where the classifier could not be made of these people and labels."""
    how = context.settings.classifier
    assert how is not None
    held, _ = inputs(context, how)
    checked_classifier(how, held, context.seed("classifier"))
