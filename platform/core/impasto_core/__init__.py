"""What every Impasto process shares."""
