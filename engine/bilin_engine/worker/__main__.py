"""`python -P -m bilin_engine.worker`: one rank of a loaded model. The supervisor starts it."""

import faulthandler
import signal

from bilin_engine import processes


def main() -> None:
    """Serves frames on the descriptors it was started with until end of input."""
    faulthandler.enable()
    read_fd, write_fd = processes.take_stdio()

    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="python -m bilin_engine.worker")
    parser.add_argument("--parent", type=int, required=True, help="pid of the supervisor")
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--nice", type=int, default=10)
    parser.add_argument("--log-dir", type=Path)
    parser.add_argument("--log-level", default="INFO")
    arguments = parser.parse_args()
    processes.end_with_parent(arguments.parent)
    processes.order_gpus_by_bus()
    processes.lower_priority(arguments.nice)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer

    from functools import partial

    from bilin_engine.channel import Channel
    from bilin_engine.logs import start_logging
    from bilin_engine.protocol import decode_worker_request
    from bilin_engine.worker.loop import WorkerLoop, load_with_torch

    start_logging(f"worker-{arguments.rank}", arguments.log_dir, arguments.log_level)
    WorkerLoop(
        Channel(read_fd, write_fd, decode_worker_request),
        load=partial(load_with_torch, rank=arguments.rank),
        rank=arguments.rank,
    ).run()


if __name__ == "__main__":
    main()
