"""What is wrong, or weaker than it should be."""
