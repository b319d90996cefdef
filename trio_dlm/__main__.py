"""``python -m trio_dlm``: the command line, where ``trio-dlm`` is not on the path."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
