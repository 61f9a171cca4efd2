"""The web server under the page: on localhost, or behind a token; quiet, and closed to other web pages."""

import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import rich
import viser
from viser.infra import WebsockClientConnection

from recon.errors import InputError, ResourceError
from viewer.door import Door

logger = logging.getLogger(__name__)

_PORTS_TRIED = 100
_console_lock = threading.Lock()


class PageServer(viser.ViserServer):
    """viser's server, without the tunnel to a public relay that any page could otherwise ask it to open."""

    door: Door | None = None
    """Asks for a token where others can reach this machine."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        logger.warning("A browser tab asked for a public link to this scene; refused.")
        return None


def start_server(host: str, port: int) -> PageServer:
    """Start the page's server on the first free port from `port` on (0: any free port).

    Raises:
        InputError: the host or the port is not usable on this machine.
        ResourceError: every port tried is taken.
    """
    free = _free_port(host, port)
    if port not in (0, free):
        logger.warning("Port %d is taken; the viewer uses %d.", port, free)
    logging.getLogger("websockets").setLevel(logging.WARNING)  # it reports every connection
    door = None if is_loopback(host) else Door(free)
    with _quiet_console(), contextlib.nullcontext() if door is None else door.in_front():
        server = PageServer(host=host, port=free, verbose=False)
    server.door = door
    if door is not None and not door.guards:
        stop_server(server)
        raise ResourceError(
            f"viser {viser.__version__} cannot be made to ask for a token, so everyone who can reach this machine "
            "could see the scene. Leave --host away, or install viser 1.1."
        )
    if door is not None:
        logger.warning(
            "The viewer listens on %s: whoever can reach this machine and has the address with its token can see and "
            "edit the scene. Leave --host away to keep it to this machine.",
            host,
        )
    _refuse_other_origins(server)
    return server


def stop_server(server: PageServer) -> None:
    """Close every tab's connection, free the port, end the threads."""
    with _quiet_console():
        server.stop()


def page_url(server: PageServer) -> str:
    """The address to open in a browser, with the token if there is one."""
    host = server.get_host()
    if host in ("0.0.0.0", "::", ""):
        host = "localhost"
    address = f"http://[{host}]:{server.get_port()}" if ":" in host else f"http://{host}:{server.get_port()}"
    return address if server.door is None else f"{address}/?token={server.door.token}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _free_port(host: str, port: int) -> int:
    """The first port from `port` on that can be bound. viser itself would wait forever on a host it cannot bind."""
    if not 0 <= port <= 65535:
        raise InputError(f"A port is a number from 0 to 65535, got {port}. Choose another with --port.")
    for candidate in [0] if port == 0 else range(port, min(port + _PORTS_TRIED, 65536)):
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise InputError(f"Unknown host {host!r}: {error}. Use 127.0.0.1 or an address of this machine.") from error
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except PermissionError:
                continue
            except OSError as error:
                if error.errno == 99:  # EADDRNOTAVAIL
                    raise InputError(
                        f"{host!r} is not an address of this machine. Use 127.0.0.1 or one that is."
                    ) from error
                continue
            return int(probe.getsockname()[1])
    raise ResourceError(f"No free port from {port} to {port + _PORTS_TRIED - 1} on {host}. Choose another with --port.")


def _refuse_other_origins(server: PageServer) -> None:
    """Hang up on connections opened by another web page (it could read the scene): WebSockets know no same-origin rule.

    A browser names the page in `Origin`; it must be the one that this server serves, which is what `Host` says. Without
    a token that must be a name of this machine: a page may let its own name lead here ("DNS rebinding").
    """
    websock: Any = server._websock_server
    connections: dict[int, Any] = getattr(websock, "_live_connections", {})

    @websock.on_client_connect
    async def check(client: WebsockClientConnection) -> None:
        connection = connections.get(client.client_id)
        if connection is None:
            return
        headers = connection.request.headers
        origin, host = headers.get("Origin"), headers.get("Host", "")
        if origin is None:
            return
        own_name = server.door is not None or is_loopback(urlsplit(f"//{host}").hostname or "")
        if urlsplit(origin).netloc != host or not own_name:
            logger.warning("Refused a connection from another web page (%s).", origin)
            await connection.close(1008, "Connections are accepted from the viewer's own page only.")


@contextlib.contextmanager
def _quiet_console() -> Iterator[None]:
    """viser prints a banner; nothing but results goes to our standard output."""
    with _console_lock:
        console = rich.get_console()
        before, console.quiet = console.quiet, True
        try:
            yield
        finally:
            console.quiet = before
