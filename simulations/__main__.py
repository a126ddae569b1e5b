"""`python -m simulations …` is `rookery simulate …`."""

import sys

from node.cli import main

if __name__ == "__main__":
    sys.argv = ["rookery", "simulate", *sys.argv[1:]]
    main()
