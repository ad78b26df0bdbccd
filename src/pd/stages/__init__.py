"""The steps of the method, a file each; `graph.py` says how they hang together."""
