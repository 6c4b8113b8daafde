"""Say where to go: the command line is ``triptych``."""

import sys

sys.exit("Run `triptych`, or `python -m triptych`: `harness` is a package inside it.")
