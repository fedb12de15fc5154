"""Rate limits: how often a key, an organization and an address may ask, kept in Redis for all processes."""
