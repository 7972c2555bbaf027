"""A target for atheris: lists of segments, led by the coverage of the filter's code.

``python -m tests.fuzz.guided FOLDER [libFuzzer's options]``, see README.md beside. What it finds is a
file; ``python -m tests.fuzz.guided FILE`` runs it again and tells what its bytes mean.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["nfinspect"]):
    from tests.fuzz import segments
    from tests.fuzz.corpus import SEGMENTS


def run(data: bytes) -> None:
    """One input."""
    segments.check(segments.read(data))


def main() -> None:
    """Let atheris run, from the failures of the past on; or show one input."""
    places = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    for place in places:
        if place.is_file():
            for piece in segments.read(place.read_bytes()):
                print(piece)
        else:
            place.mkdir(exist_ok=True)
            for number, (data, _) in enumerate(SEGMENTS):
                (place / f"found-{number}").write_bytes(data)
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
