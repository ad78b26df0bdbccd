"""What a training is, without Ray: a task, its settings, the loop, checkpoints."""
