"""What people write down about a sync: the mapping file."""
