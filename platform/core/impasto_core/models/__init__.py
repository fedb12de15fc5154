"""The vetted registry of models: what may run, where its files lie, and what it allows."""
