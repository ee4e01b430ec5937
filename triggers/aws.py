"""What is the same of all services of AWS."""

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

#: What boto3's calls raise; a `ClientError` is the service's own answer, after all retries.
FAULTS: Final = (ClientError, BotoCoreError, OSError)
