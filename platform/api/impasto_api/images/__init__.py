"""Images: what jobs made, with URLs that expire."""
