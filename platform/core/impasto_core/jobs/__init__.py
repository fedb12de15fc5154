"""Jobs: their tables, their states and the transitions between them, and the events they emit."""
