"""Images that jobs made."""
