"""Other people's services as real HTTP servers of our own."""
