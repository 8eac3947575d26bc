"""The shops. Each is a tenant: it sees its own rows and jobs, and no other's."""

import enum

PREFIX = "demo-"  # so that a database that is not ours shows whose jobs these are


class Shop(enum.StrEnum):
    BAKERY = "bakery"
    BOOKSHOP = "bookshop"
    FLORIST = "florist"
    TOOLSHOP = "toolshop"

    @property
    def tenant(self) -> str:
        return PREFIX + self


PAUSED = Shop.TOOLSHOP  # until all others are served
