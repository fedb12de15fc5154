"""Quotes: what a job would cost."""
