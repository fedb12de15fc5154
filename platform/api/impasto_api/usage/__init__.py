"""What an organization used: jobs, images, time, credits and storage."""
