"""The two stages as LightningModules, their networks, and their checkpoints."""
