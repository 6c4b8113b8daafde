"""Exit with a hint: the command line is ``triptych``."""

import sys

sys.exit("`python -m harness` does nothing. Run `triptych` or `python -m triptych` instead.")
