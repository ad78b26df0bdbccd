"""Extraction and attribute disclosure of an arm, with what an attacker sees of its samples."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from pd.audit.attack import Attack, AttackResult
from pd.audit.attributes import Targets, guess_halves, guess_label, of_half, of_label
from pd.audit.averaged_match import averaged
from pd.audit.best_match import best_match
from pd.audit.copies import repeated
from pd.audit.estimate import CONFIDENCE, Estimate
from pd.audit.extraction import extract, too_few
from pd.audit.reid_figures import independent, of_all
from pd.audit.reidentification import Reidentification
from pd.audit.results import Attributes, BestMatch, BestMatches, Copies, Extraction, Guessed
from pd.audit.subjects import Subjects
from pd.dataset.synthetic import SyntheticDataset
from pd.seeds import derive


def extraction(subjects: Subjects, samples: SyntheticDataset, copied: AttackResult) -> Extraction:
    """What is generated over and over, and is a member's picture; where prompts have too few samples, copies alone.

    Args:
        subjects: the people.
        samples: of the arm.
        copied: what the attack that looks for altered copies saw of them.
    """
    members, strangers = subjects.members, subjects.strangers
    seed, bootstrap = derive(subjects.seed, "audit", "extraction"), subjects.settings.bootstrap
    found = extract(
        samples.images,
        samples.prompts,
        members.images,
        members.identities,
        strangers.images,
        strangers.identities,
        bootstrap=bootstrap,
        seed=seed,
    )
    beside: dict[str, Any] = {
        "copies": Copies(**_together({"by pixels": found.copies.found, "altered": copied.found}, "members")),
        "prompts": found.prompts,
        "samples_per_prompt": len(samples) / found.prompts,
    }
    if why := too_few(samples.prompts):
        return Extraction(why=why, **beside)
    again = repeated(copied, bootstrap=bootstrap, seed=seed)
    pictures = len(np.unique(copied.compared.to_member.row[again.hits]))
    return Extraction(
        **_together({"cliques": found.found, "altered": again}, "extracted"),
        images_extracted=max(found.images, pictures),
        cliques=found.cliques,
        **beside,
    )


def _together(ways: Mapping[str, Reidentification], main: str) -> dict[str, Estimate]:
    """The way that finds most, with the excess of both together."""
    most = max(ways.values(), key=lambda one: one.excess.value)
    return {main: most.main, "control": most.control, "excess": of_all(ways)}


def attributes(subjects: Subjects, samples: SyntheticDataset, attack: Attack, attacked: AttackResult) -> Attributes:
    """What an attacker guesses of people whose pictures it has, but for one attribute.

    Args:
        subjects: the people.
        samples: of the arm.
        attack: the attacker that matches people with samples.
        attacked: what it saw of the samples.
    """
    how = {"bootstrap": subjects.settings.bootstrap, "seed": derive(subjects.seed, "audit", "attributes")}
    sides = [(subjects.members, attack.members), (subjects.strangers, attack.strangers)]
    members, strangers = (Targets(people.identities, people.labels) for people, _ in sides)
    found: dict[str, Guessed] = {}
    skipped: dict[str, str] = {}
    shared = sorted(set(samples.labels) & set(members.labels))
    for name in shared:
        guesses = [guess_label(attacked.rows, samples.labels[name], embedded) for _, embedded in sides]
        if not np.isfinite(guesses[0]).any():
            skipped[name] = "no prompt says"
            continue
        told = of_label(name, members, strangers, (guesses[0], guesses[1]), **how, labels=len(shared))
        if isinstance(told, str):
            skipped[name] = told
        else:
            found[name] = told
    of_members, of_strangers = ((guess_halves(samples.images, people.images), people.identities) for people, _ in sides)
    worst = {"worst": max(found, key=lambda name: _advantage(found[name]))} if found else {}
    return Attributes(by_label=found, skipped=skipped, hidden_half=of_half(of_members, of_strangers, **how), **worst)


def _advantage(guessed: Guessed) -> float:
    return guessed.advantage.value if guessed.advantage else -math.inf


def best_matches(
    subjects: Subjects, attacks: Mapping[str, Attack], by_attacker: Mapping[str, AttackResult], voted: Collection[str]
) -> BestMatches:
    """Whether the samples alone tell which pictures were learned from: `single`, and `averaged` over each one's fellows.

    Args:
        subjects: the people.
        attacks: by attacker.
        by_attacker: what each saw of the samples.
        voted: attackers of families that voted in the filter, who are asked only where there are no others.

    Returns:
        Intervals are of a confidence by which all of these attacks together are at 95 %.
        For each of both the figures of the attacker with the largest AUC, `attacker`, and `by_attacker`: all their AUCs.
    """
    found = {}
    asked = independent(by_attacker, voted)
    # The attack that tells most is shown: each is sure enough that with all of them together chance is seen once in twenty.
    confidence = 1 - (1 - CONFIDENCE) / (2 * len(asked))
    for name, rows_of in (("single", lambda rows: rows), ("averaged", averaged)):
        seen = {
            attacker: best_match(
                rows_of(by_attacker[attacker].rows),
                attacks[attacker].members,
                attacks[attacker].strangers,
                subjects.members.identities,
                subjects.strangers.identities,
                bootstrap=subjects.settings.bootstrap,
                seed=derive(subjects.seed, "audit", "best-match"),
                confidence=confidence,
            )
            for attacker in asked
        }
        everybody = {attacker: one.auc for attacker, one in seen.items() if one.auc}
        worst = max(everybody, key=lambda attacker: everybody[attacker].value)
        found[name] = BestMatch(**seen[worst].given(), attacker=worst, by_attacker=everybody)
    return BestMatches(**found)
