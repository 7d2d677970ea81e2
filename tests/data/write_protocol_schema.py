"""Writes protocol.schema.json beside itself. Run it only together with a new PROTOCOL_VERSION."""

import json
from pathlib import Path

from bilin_engine.protocol import message_schema

if __name__ == "__main__":
    path = Path(__file__).with_name("protocol.schema.json")
    text = json.dumps(message_schema(), indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
