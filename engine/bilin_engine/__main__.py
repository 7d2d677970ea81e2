"""`python -m bilin_engine` and `bilin-engine`: the engine without a window.

`stdio` greets before anything slow is imported: an app waits for that Hello.
"""

import sys


def main() -> None:
    """Runs one command and exits with its code."""
    try:
        _run()
    except KeyboardInterrupt:  # while modules are being imported; later ones are the command's
        sys.exit(130)  # as cli.main's, which may not be there yet


def _run() -> None:
    from bilin_engine import processes

    processes.calm_openmp()
    processes.order_gpus_by_bus()
    if sys.argv[1:2] == ["stdio"]:
        _serve()
    from bilin_engine.cli.main import run

    sys.exit(run(sys.argv[1:]))


def _serve() -> None:
    from bilin_engine import processes

    read_fd, write_fd = processes.take_stdio()
    from bilin_engine.channel import Channel
    from bilin_engine.protocol import decode_request, hello

    channel = Channel(read_fd, write_fd, decode_request)
    channel.send(hello("supervisor"))
    from bilin_engine.cli.stdio import serve

    serve(channel, sys.argv[2:])


if __name__ == "__main__":
    main()
