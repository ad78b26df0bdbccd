"""Classifiers: networks, what trains them, how they are judged. Labels, few labels and condensing build on it."""
