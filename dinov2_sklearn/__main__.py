"""``python -m dinov2_sklearn``: the same as ``dinov2-sklearn``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
