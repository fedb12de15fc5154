"""Workflows of InvokeAI's editor as endpoints: what they take, and the graphs that they become."""
