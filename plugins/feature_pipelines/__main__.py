"""`python -m feature_pipelines`: the same as the console script `my-feast`."""

import sys

from feature_pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main())
