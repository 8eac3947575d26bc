"""Operating: the command line. May know everything; nothing imports it."""
