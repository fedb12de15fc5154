"""Spend caps, and the alerts that tell how near spending has come to them."""
