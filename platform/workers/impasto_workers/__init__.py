"""GPU workers and the sweeper."""
