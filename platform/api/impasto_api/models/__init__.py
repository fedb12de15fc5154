"""Models that jobs may name."""
