"""Run the command line: ``python -m triptych`` is ``triptych``."""

from harness.cli import app

if __name__ == "__main__":
    app(prog_name="triptych")
