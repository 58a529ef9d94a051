"""IPython's kernel with no socket on a network, run as a file: ``python -P kernel.py -f FILE``.

ipykernel listens on a TCP port of the loopback address, whatever the kernel's own transport, for what
forked processes print; here this socket lies beside the others.
The module stands alone: a kernel finds its library wherever the book says, not here.
"""

from __future__ import annotations

import os
from typing import Any

import zmq
from ipykernel import iostream, kernelapp
from zmq.eventloop.zmqstream import ZMQStream

_LINGER_MS = 3000


class IOPubThread(iostream.IOPubThread):
    """ipykernel's thread for outputs; those of forked processes come through a Unix socket."""

    def _setup_pipe_in(self) -> None:
        own = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        if not own.startswith("ipc://"):
            super()._setup_pipe_in()
            return
        self._pipe_uuid = os.urandom(16)
        self._pipe_address = f"{own}-forks"
        pipe = self.socket.context.socket(zmq.PULL)
        pipe.linger = 0
        pipe.bind(self._pipe_address)
        self._pipe_in = ZMQStream(pipe, self.io_loop)
        self._pipe_in.on_recv(self._handle_pipe_msg)

    def _setup_pipe_out(self) -> tuple[Any, Any]:
        if not hasattr(self, "_pipe_address"):
            return super()._setup_pipe_out()
        context: Any = zmq.Context()
        pipe = context.socket(zmq.PUSH)
        pipe.linger = _LINGER_MS
        pipe.connect(self._pipe_address)
        return context, pipe


def main() -> None:
    """Start a kernel as the command line says."""
    kernelapp.IOPubThread = IOPubThread  # type: ignore[misc]
    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
