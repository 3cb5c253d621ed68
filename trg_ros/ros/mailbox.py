"""Hands the newest item from one thread to another; older ones are dropped and counted, never queued."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """One slot, newest wins.

    `put` never blocks, so an executor's callback may call it; `take` is for one consumer thread.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: Item | None = None
        self._closed = False
        self._received = 0
        self._dropped = 0

    def put(self, item: Item) -> None:
        """Store `item`; one that is still there is dropped. After `close` the new one is dropped."""
        with self._condition:
            self._received += 1
            if self._closed:
                self._dropped += 1
                return
            if self._item is not None:
                self._dropped += 1
            self._item = item
            self._condition.notify()

    def take(self, timeout_s: float | None = None) -> Item | None:
        """The newest item, waiting up to `timeout_s` seconds for one; None after that or once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Wake the consumer for good; what is still in the slot counts as dropped."""
        with self._condition:
            if self._item is not None:
                self._dropped += 1
                self._item = None
            self._closed = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        with self._condition:
            return self._closed

    @property
    def received(self) -> int:
        """Items ever put."""
        with self._condition:
            return self._received

    @property
    def dropped(self) -> int:
        """Items that nobody took."""
        with self._condition:
            return self._dropped
