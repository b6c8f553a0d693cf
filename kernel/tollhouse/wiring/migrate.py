"""``python -m tollhouse.wiring.migrate DSN``: migrate and end; the last line of standard error says why not."""

from __future__ import annotations

import sys

from tollhouse.wiring.database import upgrade


def main() -> int:
    """Migrate the database named by the first argument."""
    try:
        upgrade(sys.argv[1])
    except Exception as error:
        text = " ".join(str(error).split())[:500]
        sys.stderr.write(f"{type(error).__name__}: {text}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
