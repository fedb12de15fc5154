"""Organizations own everything; a person is a member of one with a role."""
