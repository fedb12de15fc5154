"""API keys: how a token is made, parsed and stored."""
