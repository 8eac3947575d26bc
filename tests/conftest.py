import signal

pytest_plugins = ["tests.fix_postgres", "tests.fix_sql", "tests.security.guard", "pytester"]


def pytest_configure() -> None:
    # A shell that runs the suite with & makes it ignore SIGINT, and every process that a test starts inherits that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
