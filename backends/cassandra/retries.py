"""Which requests the driver may send again: only those that cannot be done twice by it.

A request is sent again to another node when it did not run (too few replicas, overloaded,
bootstrapping), or when it is idempotent: reads, and writes that set values by key. A conditional
write, a counter and a batch with either is never repeated: its first try may have been done.
A page that is asked for again names the same position, so a scan neither skips nor repeats rows.
"""

from __future__ import annotations

from typing import Any, Final

from cassandra.policies import RetryPolicy
from cassandra.protocol import IsBootstrappingErrorMessage, OverloadedErrorMessage

RETRIES_MAX: Final = 2
_NOT_RUN: Final = (OverloadedErrorMessage, IsBootstrappingErrorMessage)

Decision = tuple[int, Any]


class CarefulRetries(RetryPolicy):  # type: ignore[misc]
    """See the module's text."""

    def on_read_timeout(
        self,
        query: Any,
        consistency: int,
        required_responses: int,
        received_responses: int,
        data_retrieved: bool,
        retry_num: int,
    ) -> Decision:
        """Once more where enough replicas answered and only the data was late."""
        del query
        late = received_responses >= required_responses and not data_retrieved
        return (self.RETRY, consistency) if late and retry_num == 0 else (self.RETHROW, None)

    def on_write_timeout(
        self,
        query: Any,
        consistency: int,
        write_type: int,
        required_responses: int,
        received_responses: int,
        retry_num: int,
    ) -> Decision:
        """Once more if it is idempotent."""
        del write_type, required_responses, received_responses
        again = query.is_idempotent and retry_num == 0
        return (self.RETRY, consistency) if again else (self.RETHROW, None)

    def on_unavailable(
        self,
        query: Any,
        consistency: int,
        required_replicas: int,
        alive_replicas: int,
        retry_num: int,
    ) -> Decision:
        """Once, by another node: this one may see the cluster wrongly, and nothing was done."""
        del query, consistency, required_replicas, alive_replicas
        return (self.RETRY_NEXT_HOST, None) if retry_num == 0 else (self.RETHROW, None)

    def on_request_error(
        self, query: Any, consistency: int, error: Any, retry_num: int
    ) -> Decision:
        """By another node, if it did not run or is idempotent."""
        del consistency
        safe = query.is_idempotent or isinstance(error, _NOT_RUN)
        again = safe and retry_num < RETRIES_MAX
        return (self.RETRY_NEXT_HOST, None) if again else (self.RETHROW, None)
