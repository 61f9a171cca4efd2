"""Nothing that a browser tab does may bring the viewer down: callbacks log what went wrong and carry on."""

import functools
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


def guarded(function: Callable[..., Any]) -> Callable[..., None]:
    """`function`, but an exception is logged with its traceback instead of raised."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logger.exception("The viewer could not finish %s; it carries on.", function.__qualname__)

    return call
