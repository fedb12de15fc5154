"""Who is asking: API keys, checked from memory, forgotten the moment they change."""
