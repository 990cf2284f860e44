"""Training on mmengine's Runner: models, objectives, losses, loops and checkpoints."""
