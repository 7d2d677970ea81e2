"""`bilin-engine stdio` with scripted models (letter_models) in place of the library. A program.

`--worker PROGRAM ARG…` (last) is the worker's program in this folder and its arguments.
"""

import argparse
import os
import sys

from bilin_engine import processes


def main():
    read_fd, write_fd = processes.take_stdio()
    from bilin_engine.channel import Channel
    from bilin_engine.protocol import decode_request, hello
    from bilin_engine.server.stdio import StdioServer

    channel = Channel(read_fd, write_fd, decode_request)
    channel.send(hello("supervisor"))
    from letter_models import LetterTexts, worker_command

    from bilin_engine.logs import start_logging
    from bilin_engine.server.supervisor import Supervisor, SupervisorSettings

    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", nargs=argparse.REMAINDER, default=["scripted_worker.py"])
    options = parser.parse_args()
    processes.end_with_parent(os.getppid())
    start_logging("engine", None)
    settings = SupervisorSettings(command=worker_command(*options.worker))
    StdioServer(channel).serve(lambda emit: Supervisor(emit, LetterTexts(), settings))


if __name__ == "__main__":
    sys.exit(main())
