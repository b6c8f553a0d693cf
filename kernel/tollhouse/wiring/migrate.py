"""``python -m tollhouse.wiring.migrate``: migrate and end; the last line of standard error says why not.

The database comes by standard input: it may hold a password, and a command line is seen by everybody on the machine.
"""

from __future__ import annotations

import sys

from tollhouse.wiring.database import upgrade


def main() -> int:
    """Migrate the database named on standard input."""
    try:
        upgrade(sys.stdin.read())
    except Exception as error:
        text = " ".join(str(error).split())[:500]
        sys.stderr.write(f"{type(error).__name__}: {text}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
