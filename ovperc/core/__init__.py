"""What every room shares: values that cross the seams, the registry, files written whole."""
