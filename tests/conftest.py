pytest_plugins = ["tests.fix_postgres", "tests.security.guard", "pytester"]
