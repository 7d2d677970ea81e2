"""Which sockets processes listen on, from /proc: loopback is fine, anything else is not."""

from contextlib import suppress
from pathlib import Path

LISTEN = "0A"
LOOPBACK = ("0100007F", "00000000000000000000000001000000")


def foreign_listeners(pids):
    """Local addresses beyond loopback, as /proc/net/tcp writes them, that `pids` listen on."""
    inodes = set()
    for pid in pids:
        with suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    target = str(link.readlink())
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            address = fields[1].rpartition(":")[0]
            if fields[3] == LISTEN and fields[9] in inodes and address not in LOOPBACK:
                found.append(fields[1])
    return found
