"""Ranks as threads of one process: they compute what processes would, without their start."""

import threading

from bilin_engine.collectives.board import make_rendezvous, remove_rendezvous


def run_ranks(world_size, work, timeout_s=50.0) -> list:
    """Calls work(rank, folder) for every rank at once; returns the results by rank.

    The first rank's exception is raised again.
    """
    folder = make_rendezvous(world_size)
    results = [None] * world_size
    errors = []

    def run(rank):
        try:
            results[rank] = work(rank, folder)
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)

    threads = [threading.Thread(target=run, args=(r,), daemon=True) for r in range(world_size)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout_s)
            if errors:
                raise errors[0]
            assert not thread.is_alive(), "a rank did not end"
    finally:
        remove_rendezvous(folder)
    return results
