"""Pictures that callers bring: put to a presigned URL, verified before anything uses them."""
