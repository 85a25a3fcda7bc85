"""From a checked configuration to a trained and measured run."""
