"""`pd`: the one way in from a terminal."""

# Each module adds its commands, and `pd --help` shows them in this order.
from pd.cli import runs

# isort: split
from pd.cli import doctor

# isort: split
from pd.cli import stages

# isort: split
from pd.cli import audits

# isort: split
from pd.cli import classifier, condense, labels, recognise, screen

# isort: split
from pd.cli import privacy

# isort: split
from pd.cli.app import app
from pd.cli.entry import main

__all__ = [
    "app",
    "audits",
    "classifier",
    "condense",
    "doctor",
    "labels",
    "main",
    "privacy",
    "recognise",
    "runs",
    "screen",
    "stages",
]
