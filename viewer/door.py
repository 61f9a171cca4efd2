"""Who may enter, when others can reach this machine: only a browser that was given the token.

The address that is printed carries the token. The first request trades it for a cookie, which the page's own requests
and its WebSocket then bring along; without it there is neither page nor scene.
"""

import contextlib
import hmac
import http
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import websockets.asyncio.server
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

logger = logging.getLogger(__name__)

Answer = Callable[[Any, Request], Response | None]
_lock = threading.Lock()


class Door:
    """A token, and the check for it in front of a web server."""

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe(18)
        self._cookie = f"recon-{port}"  # cookies do not know ports
        self.guards = False
        """Whether a server was started behind it."""

    @contextlib.contextmanager
    def in_front(self) -> Iterator[None]:
        """Servers that viser starts inside the block are behind the door. viser has no place for such a check, so the
        function that it starts them with is replaced meanwhile. `guards` then says whether that worked.
        """
        with _lock:
            serve = websockets.asyncio.server.serve

            def guarded_serve(*args: Any, process_request: Answer, **options: Any) -> Any:
                self.guards = True
                return serve(*args, process_request=self._checked(process_request), **options)

            websockets.asyncio.server.serve = guarded_serve  # type: ignore[assignment,misc]
            try:
                yield
            finally:
                websockets.asyncio.server.serve = serve  # type: ignore[misc]

    def _checked(self, answer: Answer) -> Answer:
        def check(connection: Any, request: Request) -> Response | None:
            if self._matches(self._given_cookie(request)):
                return answer(connection, request)
            given = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
            if self._matches(given) and request.headers.get("Upgrade") is None:
                cookie = f"{self._cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax"
                return Response(
                    http.HTTPStatus.SEE_OTHER, "See Other", Headers({"Location": "/", "Set-Cookie": cookie}), b""
                )
            logger.warning("Refused someone without the token.")
            text = b"This viewer asks for a token: open the whole address that recon view printed.\n"
            headers = Headers({"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(text))})
            return Response(http.HTTPStatus.UNAUTHORIZED, "Unauthorized", headers, text)

        return check

    def _given_cookie(self, request: Request) -> str:
        try:
            cookies = SimpleCookie("; ".join(request.headers.get_all("Cookie")))
        except CookieError:
            return ""
        return cookies[self._cookie].value if self._cookie in cookies else ""

    def _matches(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())
