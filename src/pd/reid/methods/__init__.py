"""Ways to train a recogniser, a file each."""
