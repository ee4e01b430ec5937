"""The guard of all channels: whatever one raises, and however long it takes, is the result of an attempt."""

import threading
from datetime import datetime
from typing import Final

from db.records import Delivery
from triggers.channels.port import Channel, Receipt, SendResult
from triggers.channels.text import printable, shortened

#: A call that takes longer is left. It is longer than the timeouts of a channel, and shorter than the time
#: for which a message is hidden from other senders.
DEADLINE_SECONDS: Final = 75.0

_ERROR_LENGTH: Final = 300
_READ_CHARACTERS: Final = 10_000  #: of an error; some libraries put a whole document into it


def attempt(
    channel: Channel, delivery: Delivery, *, now: datetime, seconds: float = DEADLINE_SECONDS
) -> Receipt:
    """Send one message; a failure is returned and can be retried, also one that the channel raises.

    After `seconds`, the call is left in its thread. Should it succeed after all, the message is sent twice,
    with the same key.
    """
    receipts: list[Receipt] = []

    def send() -> None:
        try:
            receipts.append(channel.send(delivery, now=now))
        except BaseException as error:  # noqa: BLE001 - of a thread nothing else would remain
            receipts.append(Receipt(result=SendResult.RETRY, error=described(error)))

    thread = threading.Thread(target=send, name=f"sending {delivery.channel}", daemon=True)
    thread.start()
    thread.join(seconds)
    late = f"TimeoutError: no answer within {seconds:g} s"
    return receipts[0] if receipts else Receipt(result=SendResult.RETRY, error=late)


def described(error: BaseException) -> str:
    """Return an error in one short line."""
    return shortened(printable(f"{type(error).__name__}: {error}"[:_READ_CHARACTERS]), _ERROR_LENGTH)
