"""`jobforge jobs …` and `jobforge why`."""
