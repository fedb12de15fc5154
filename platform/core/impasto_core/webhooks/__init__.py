"""Webhooks after Standard Webhooks 1.0.0: what is told, to whom, how it is signed and kept from doing harm.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""
