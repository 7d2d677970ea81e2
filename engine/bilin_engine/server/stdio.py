"""`bilin-engine stdio`: the supervisor behind frames on stdin and stdout.

End of input and SIGTERM are the orderly ways to end it; the parent's death is the other.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from bilin_engine.channel import Channel
from bilin_engine.protocol import (
    CONNECTION_ID,
    Done,
    Event,
    Failed,
    FrameError,
    Hello,
    Request,
    Shutdown,
    check_hello,
)

if TYPE_CHECKING:
    from bilin_engine.server.supervisor import Supervisor

EXIT_OK = 0
EXIT_PROTOCOL = 3

logger = logging.getLogger(__name__)


class StdioServer:
    """One app on the other end, which was sent our Hello before this module was imported."""

    def __init__(self, channel: Channel[Request | Hello]) -> None:
        self._channel = channel

    def emit(self, event: Event) -> None:
        """Sends one event. An app that is gone is noticed by the reader, not here.

        What no frame can hold is answered by `Failed`: whoever asked must not wait for ever, and
        the thread that answers must live on.
        """
        try:
            self._channel.send(event)
        except BrokenPipeError:
            logger.debug("the app no longer reads")
        except (FrameError, UnicodeError) as error:
            logger.exception("%s cannot be sent", type(event).__name__)
            if (request_id := getattr(event, "id", None)) is not None:
                message = f"the answer cannot be sent: {error}"
                self._channel.send(Failed(id=request_id, code="internal", message=message))

    def serve(self, make_supervisor: "Callable[[Callable[[Event], None]], Supervisor]") -> None:
        """Reads requests until the end of input; then the process exits."""
        supervisor = make_supervisor(self.emit)

        def on_sigterm(_signal: int, _frame: FrameType | None) -> None:
            # Not in the handler itself: it may interrupt a thread that holds a lock.
            threading.Thread(target=leave, args=(EXIT_OK,), daemon=True).start()

        def leave(code: int) -> None:
            supervisor.close()
            logging.shutdown()
            os._exit(code)

        signal.signal(signal.SIGTERM, on_sigterm)
        try:
            check_hello(self._channel.receive(), "app")
            while (request := self._channel.receive()) is not None:
                if isinstance(request, Hello):
                    raise FrameError("the app said Hello twice")
                if isinstance(request, Shutdown):
                    supervisor.close()
                    self.emit(Done(request.id))
                    break
                supervisor.submit(request)
        except FrameError as error:
            logger.error("the app's stream broke: %s", error)  # noqa: TRY400 - no bug of ours
            self.emit(Failed(id=CONNECTION_ID, code="protocol", message=str(error)))
            leave(EXIT_PROTOCOL)
        leave(EXIT_OK)
