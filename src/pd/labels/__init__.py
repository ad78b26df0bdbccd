"""From votes, noisy labels and few labels to labels one can trust."""
