"""API keys: make, look at, revoke, roll."""
