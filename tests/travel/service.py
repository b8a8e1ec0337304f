"""The process that plays the service: shipments in, one JSON per line, outcomes out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import kernel


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        try:
            found = kernel.delivered(order["shipment"], order["arguments"])
        except Exception as error:  # noqa: BLE001 - it is the answer
            found = f"{type(error).__name__}: {error}"
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
