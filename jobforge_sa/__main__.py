"""`python -m jobforge_sa` is the command `jobforge`."""

from jobforge_sa.ops.cli import main

if __name__ == "__main__":
    main()
