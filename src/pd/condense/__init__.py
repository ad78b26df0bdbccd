"""Condensing: a few pictures a class, for networks to learn from in place of all of them."""
