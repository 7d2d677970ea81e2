"""Writes protocol.schema.json beside itself; refuses where PROTOCOL_VERSION should have risen."""

import json
import sys
from pathlib import Path

from bilin_engine.protocol import PROTOCOL_VERSION, message_schema

PATH = Path(__file__).with_name("protocol.schema.json")


def main() -> int:
    schema = json.loads(json.dumps(message_schema()))
    if PATH.exists():
        written = json.loads(PATH.read_text(encoding="utf-8"))
        if written != schema and written["protocol"] >= PROTOCOL_VERSION:
            sys.stderr.write(
                f"the messages changed but PROTOCOL_VERSION is still {PROTOCOL_VERSION}; "
                f"raise it to {written['protocol'] + 1} first\n"
            )
            return 1
    text = json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False)
    PATH.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
