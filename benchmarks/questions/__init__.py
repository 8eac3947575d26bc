"""The questions. Each is a file with `cases(setting)`; its first lines say what is measured, and what is not fair."""
