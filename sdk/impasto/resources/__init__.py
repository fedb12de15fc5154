"""What hangs off a client, one class a resource."""
