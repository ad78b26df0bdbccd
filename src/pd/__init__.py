"""Privacy distillation: share a generative model of people's images that leaks nobody, and show it."""

__version__ = "0.1.0"
