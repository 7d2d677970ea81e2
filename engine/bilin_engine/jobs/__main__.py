"""`python -P -m bilin_engine.jobs`: one piece of work. The supervisor starts it."""

import faulthandler
import signal

from bilin_engine import processes


def main() -> None:
    """Does what the first message says; stops at end of input, keeping what is done."""
    faulthandler.enable()
    read_fd, write_fd = processes.take_stdio()

    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="python -m bilin_engine.jobs")
    parser.add_argument("--parent", type=int, required=True, help="pid of the supervisor")
    parser.add_argument("--nice", type=int, default=10)
    parser.add_argument("--log-dir", type=Path)
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--token-file", type=Path)
    arguments = parser.parse_args()
    processes.end_with_parent(arguments.parent)
    processes.order_gpus_by_bus()
    processes.lower_priority(arguments.nice)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer

    from bilin_engine.channel import Channel
    from bilin_engine.jobs.run import JobLoop
    from bilin_engine.logs import start_logging
    from bilin_engine.protocol import decode_job_request

    start_logging("job", arguments.log_dir, arguments.log_level)
    JobLoop(Channel(read_fd, write_fd, decode_job_request), arguments.token_file).run()


if __name__ == "__main__":
    main()
