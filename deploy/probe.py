"""Exit with 0 if the daemon of this container answers on /healthz, and with 1 if not.

It is run as `python3 -S`, without any package: a probe that takes seconds would measure the load.
"""

import os
import socket
import sys

_TIMEOUT_SECONDS = 4.0


def main() -> int:
    """Return the exit code."""
    port = int(os.environ.get("REDISTILL__WEB__PORT", "8080"))
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = connection.recv(64)
    except OSError as error:
        print(f"127.0.0.1:{port} does not answer: {error}")
        return 1
    status = answer.split(b"\r\n")[0].decode("latin-1")
    print(status)
    return 0 if status.split()[1:2] == ["200"] else 1


if __name__ == "__main__":
    sys.exit(main())
