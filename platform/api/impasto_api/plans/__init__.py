"""Plans: what each allows, and whether a request keeps to the caller's."""
