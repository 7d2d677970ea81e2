"""A self-test that says at once what it is told to: `scripted_selftest.py WORDS COUNT_FILE`.

WORDS: "layer_split", "dies", "hangs", or collectives by commas that passed ("gloo"); among them
"kernels" = those are wrong, "unknown" = they could not be checked, "peers" = what one card sends
to another arrives changed, "split" = a layer split computes something else. Each run adds a line to
COUNT_FILE with the arguments it got.
"""

import sys
import time
from pathlib import Path

import msgspec

from bilin_engine.server.selftest_gate import (
    PEERS,
    SPLIT,
    SelftestDone,
    SelftestOutcome,
    SelftestProgress,
)

words, count_file, *arguments = sys.argv[1:]
with Path(count_file).open("a", encoding="utf-8") as file:
    file.write(" ".join(arguments) + "\n")


def say(line: SelftestProgress | SelftestDone) -> None:
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


say(SelftestProgress("kernels against reference", 0, 2))
if words == "hangs":
    time.sleep(60)
if words == "dies":
    sys.exit(3)
say(SelftestProgress("all-reduce", 1, 2))
kernels = "kernels" not in words
if words in ("layer_split", "single"):
    outcome = SelftestOutcome(mode=words, collectives=(), failed=("all-reduce, nccl",))  # type: ignore[arg-type]
else:
    moved = {"peers": PEERS, "split": SPLIT}
    said = words.split(",")
    passed = tuple(name for name in said if name not in ("kernels", "unknown", *moved))
    failed = () if "shared_memory" in passed else ("all-reduce, shared_memory",)
    if not kernels:
        failed = (*failed, "kernels against reference")
    failed = (*failed, *(moved[name] for name in said if name in moved))
    outcome = SelftestOutcome(
        mode="tensor_parallel",
        collectives=passed,
        failed=failed,
        kernels_passed=kernels,
        is_known="unknown" not in words,
    )
say(SelftestDone(outcome))
