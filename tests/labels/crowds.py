"""Crowds of known skill."""

import numpy as np

from pd.labels.votes import Votes


def confusion(skill, classes):
    """P(said | truth) of an annotator who is right with probability `skill`, else any other class alike."""
    return np.full((classes, classes), (1 - skill) / (classes - 1)) + np.eye(classes) * (skill - (1 - skill) / (classes - 1))


def crowd(images=300, annotators=12, classes=3, each=4, seed=0, skills=None):
    """Votes of annotators with these skills (by default 0.3 to 0.95), `each` votes an image; and the truth."""
    chance = np.random.default_rng(seed)
    truth = chance.integers(0, classes, images)
    skills = np.linspace(0.3, 0.95, annotators) if skills is None else np.asarray(skills)
    matrices = np.stack([confusion(skill, classes) for skill in skills])
    image = np.repeat(np.arange(images), each)
    annotator = np.concatenate([chance.choice(len(skills), each, replace=False) for _ in range(images)])
    label = np.array([chance.choice(classes, p=matrices[a, truth[i]]) for i, a in zip(image, annotator, strict=True)])
    names = [f"image-{i}" for i in range(images)], [f"annotator-{a}" for a in range(len(skills))]
    return Votes(image, annotator, label, *names, [f"class-{c}" for c in range(classes)]), truth, matrices
