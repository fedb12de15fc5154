"""Uploads: a presigned PUT straight into the object store, verified before the first use."""
