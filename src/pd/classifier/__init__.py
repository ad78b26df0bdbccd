"""A private classifier to give away: people reach it through noisy votes or noisy gradients, and in no other way."""
