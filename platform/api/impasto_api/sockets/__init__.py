"""Socket.IO, for browsers: what the event streams tell, many jobs on one connection."""
