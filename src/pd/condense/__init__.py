"""Condensing: a few pictures a class from which networks learn nearly as well as from all of them."""
