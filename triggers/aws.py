"""The errors that calls to any AWS service raise."""

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

#: A `ClientError` is the service's own response, after all retries.
FAULTS: Final = (ClientError, BotoCoreError, OSError)
