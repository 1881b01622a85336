"""Objects in a store such as S3: listing and reading them, and a bounded cache of those that were read."""
