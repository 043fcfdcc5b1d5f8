"""Folders and S3 buckets as one kind of place. See `bushel.storage.place`."""
