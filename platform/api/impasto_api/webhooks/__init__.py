"""Webhooks: endpoints, secrets, the log of deliveries, and what the contract says of the requests we send."""
