"""``python -m nfinspect``, the same as the command ``nfinspect``."""

from nfinspect.cli import main

main(prog_name="nfinspect")
