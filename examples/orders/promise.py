"""What was promised beside what was found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    text: str
    expected: object
    found: object

    @property
    def kept(self) -> bool:
        return self.expected == self.found
