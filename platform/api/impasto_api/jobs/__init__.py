"""Jobs: the one way in."""
