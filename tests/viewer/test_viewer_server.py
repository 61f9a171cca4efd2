"""The viewer's server and live feed: ports, other origins, threads, and a run that never waits."""

import http.client
import logging
import socket
import threading
import time
from dataclasses import replace

import pytest
import torch
import viser
from blob_scene import BlobRun, blob_posed_scene, blob_splats
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from recon.errors import InputError, PoseError, ResourceError
from recon.events import HeldOutReady, Progress, SceneReady, SplatsUpdated, StageFinished, Warned
from recon.types import Splats
from viewer import LiveViewer, Viewer, open_run
from viewer.server import is_loopback


def wait_for(condition, what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.02)


def can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def port_of(viewer: Viewer | LiveViewer) -> int:
    return int(viewer.url.rsplit(":", 1)[1])


def test_a_taken_port_gives_the_next_one_and_says_so(blob_run: BlobRun, caplog: pytest.LogCaptureFixture) -> None:
    first = open_run(blob_run.folder, port=0, block=False)
    second = open_run(blob_run.folder, port=port_of(first), block=False)
    try:
        assert port_of(first) < port_of(second) < port_of(first) + 100
        assert f"Port {port_of(first)} is taken; the viewer uses {port_of(second)}" in caplog.text
    finally:
        first.stop()
        second.stop()


def test_stop_gives_back_port_and_threads(blob_run: BlobRun) -> None:
    before = set(threading.enumerate())
    viewer = open_run(blob_run.folder, port=0, block=False)
    port = port_of(viewer)
    assert not can_bind(port)
    viewer.stop()
    viewer.stop()  # twice does no harm
    wait_for(lambda: can_bind(port), "the port to be free")
    wait_for(lambda: set(threading.enumerate()) <= before, "the threads to end")


def test_wait_ends_when_stopped(blob_run: BlobRun) -> None:
    viewer = open_run(blob_run.folder, port=0, block=False)
    waiting = threading.Thread(target=viewer.wait)
    waiting.start()
    viewer.stop()
    waiting.join(timeout=10)
    assert not waiting.is_alive()


def test_nothing_is_printed(blob_run: BlobRun, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to the result (`--json`)."""
    open_run(blob_run.folder, port=0, block=False).stop()
    assert capfd.readouterr().out == ""


def test_listens_on_this_machine_only_unless_told(caplog: pytest.LogCaptureFixture) -> None:
    local = Viewer("x", port=0)
    try:
        assert local.url.startswith("http://127.0.0.1:")
        assert local.server.get_host() == "127.0.0.1"
        assert "whoever can reach" not in caplog.text
    finally:
        local.stop()
    everywhere = Viewer("x", host="0.0.0.0", port=0)
    try:
        assert "whoever can reach this machine" in caplog.text
        assert everywhere.url.startswith("http://localhost:")
    finally:
        everywhere.stop()


def test_loopback_addresses() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"))


def test_unusable_hosts_and_ports_are_plain_errors() -> None:
    with pytest.raises(InputError, match="not an address of this machine"):
        Viewer("x", host="203.0.113.7", port=0)
    with pytest.raises(InputError, match="Unknown host"):
        Viewer("x", host="no.such.host.invalid", port=0)
    with pytest.raises(InputError, match="0 to 65535"):
        Viewer("x", port=70000)


def greet(viewer: Viewer, origin: str | None) -> bytes | str:
    """Connect as a page of `origin` would, and return the first message."""
    address = viewer.url.replace("http", "ws")
    protocol = Subprotocol(f"viser-v{viser.__version__}")
    with connect(address, origin=origin, subprotocols=[protocol], max_size=None) as socket:  # type: ignore[arg-type]
        return socket.recv(timeout=10)


def test_pages_from_elsewhere_are_refused(viewer: Viewer) -> None:
    assert isinstance(greet(viewer, viewer.url), bytes)
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
        with pytest.raises(ConnectionClosed) as refusal:
            greet(viewer, origin)
        assert refusal.value.rcvd is not None
        assert refusal.value.rcvd.code == 1008
    assert isinstance(greet(viewer, viewer.url), bytes)  # a refusal leaves no mark


def test_a_foreign_name_for_this_machine_is_refused(viewer: Viewer) -> None:
    """What a page does that lets its own name lead to 127.0.0.1: its origin is then the host that it asks for."""
    port = port_of(viewer)
    protocol = [Subprotocol(f"viser-v{viser.__version__}")]
    for name, welcome in (("evil.example", False), ("localhost", True)):
        address = f"{name}:{port}"
        line = socket.create_connection(("127.0.0.1", port))
        with connect(
            f"ws://{address}", sock=line, origin=f"http://{address}", subprotocols=protocol, max_size=None
        ) as page:
            if welcome:
                assert isinstance(page.recv(timeout=10), bytes)
                continue
            with pytest.raises(ConnectionClosed) as refusal:
                page.recv(timeout=10)
            assert refusal.value.rcvd is not None
            assert refusal.value.rcvd.code == 1008


def test_nobody_can_ask_for_a_public_link(viewer: Viewer, caplog: pytest.LogCaptureFixture) -> None:
    assert viewer.server.request_share_url() is None
    assert "refused" in caplog.text


@pytest.fixture
def live():
    running = LiveViewer("run", port=0)
    yield running
    running.stop()


def test_the_sink_never_makes_the_run_wait(live: LiveViewer, monkeypatch: pytest.MonkeyPatch) -> None:
    release, seen = threading.Event(), []

    def slow(event) -> None:
        release.wait(20)
        seen.append(event)

    monkeypatch.setattr(live, "_apply", slow)
    splats = blob_splats()  # outside the time taken: making them costs more than handing them over
    start = time.thread_time(), time.monotonic()
    for step in range(500):
        live(Progress("train", step, 500))
        live(SplatsUpdated(step, splats))
    assert time.thread_time() - start[0] < 1.0
    assert time.monotonic() - start[1] < 10.0
    release.set()
    wait_for(lambda: any(isinstance(e, Progress) and e.done == 499 for e in seen), "the last progress")
    assert len(seen) < 10  # the latest of each kind wins


def test_splats_are_copied_because_training_changes_them(live: LiveViewer) -> None:
    live(SceneReady(blob_posed_scene()))
    splats = blob_splats()
    expected = splats.means.clone()
    live(SplatsUpdated(1, splats))
    splats.means.zero_()
    wait_for(lambda: live.viewer.contents.splats is not None, "the splats on the page")
    shown = live.viewer.contents.splats
    assert shown is not None
    torch.testing.assert_close(shown.means, expected)


def test_splats_are_throttled(live: LiveViewer, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    monkeypatch.setattr(live, "_show_splats", lambda event: steps.append(event.step))
    begun = time.monotonic()
    step = 0
    while time.monotonic() - begun < 3.0:
        live(SplatsUpdated(step, blob_splats()))
        step += 1
        time.sleep(0.01)
    assert 1 <= len(steps) <= 2


def test_an_error_on_the_page_does_not_reach_the_run(
    live: LiveViewer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event) -> None:
        raise ValueError("the page is on fire")

    monkeypatch.setattr(live, "_apply", fail)
    with caplog.at_level(logging.ERROR):
        live(Progress("train", 1, 2))
        wait_for(lambda: "the page is on fire" in caplog.text, "the log")
    live(Warned("still here"))
    live(StageFinished("train", 1.0, 1.0, 0))
    monkeypatch.undo()
    live(SplatsUpdated(2, blob_splats()))
    wait_for(lambda: live.viewer.contents.splats is not None, "the page to go on")
    assert len(live.viewer.contents.splats) == len(blob_splats())


def test_large_scenes_are_thinned_while_training_and_it_is_said(
    live: LiveViewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("viewer.live.MAX_LIVE_SPLATS", 100)
    live(SceneReady(blob_posed_scene()))
    live(SplatsUpdated(1, blob_splats()))
    summary = live.viewer.panels.summary
    wait_for(lambda: "of 240" in summary.text, "the readout")
    assert "100 of 240" in summary.text


def test_finish_replaces_the_live_scene_and_stop_gives_everything_back(blob_run: BlobRun) -> None:
    before = set(threading.enumerate())
    live = LiveViewer("run", port=0)
    live(SceneReady(blob_posed_scene()))
    live(SplatsUpdated(1, Splats.cat([blob_splats(), blob_splats()])))
    live.finish(blob_run.folder)
    assert live.viewer.contents.splats is not None
    assert len(live.viewer.contents.splats) == 240
    live(Progress("train", 1, 2))  # late events are not an error
    live.stop()
    wait_for(lambda: set(threading.enumerate()) <= before, "the threads to end")


def test_held_out_photos_are_watched_once_their_place_is_found(live: LiveViewer) -> None:
    placed, watch = threading.Event(), live.viewer.panels.watch

    def place():
        placed.wait(20)
        return replace(blob_posed_scene(), names=("x.jpg", "y.jpg", "z.jpg"))

    live(SceneReady(blob_posed_scene()))
    live(HeldOutReady(place))
    live(SplatsUpdated(1, blob_splats()))
    wait_for(lambda: "step 1" in watch.text, "splats beside a photo, while places are looked for")
    assert watch.photo.options == ("1 a.jpg", "2 b.jpg", "3 c.jpg")
    placed.set()
    wait_for(lambda: watch.photo.value == "4 x.jpg (held out)", "the first held-out photo to be watched")
    assert len(watch.photo.options) == 6


def test_a_run_whose_held_out_photos_have_no_place_goes_on(live: LiveViewer, caplog: pytest.LogCaptureFixture) -> None:
    def place():
        raise PoseError("nothing matches")

    live(SceneReady(blob_posed_scene()))
    live(HeldOutReady(place))
    wait_for(lambda: "nothing matches" in caplog.text, "the reason")
    live(SplatsUpdated(1, blob_splats()))
    wait_for(lambda: "step 1" in live.viewer.panels.watch.text, "the training photos")
    assert len(live.viewer.panels.watch.photo.options) == 3


def ask(url: str, path: str, cookie: str = "") -> tuple[int, dict[str, str], bytes]:
    """What the web server answers to a plain request, without following where it leads."""
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    body = answer.read()
    connection.close()
    return answer.status, headers, body


@pytest.fixture
def open_to_all(blob_run: BlobRun):
    running = open_run(blob_run.folder, host="0.0.0.0", port=0, block=False)
    yield running
    running.stop()


def test_other_machines_need_the_token(open_to_all: Viewer) -> None:
    url, token = open_to_all.url.split("/?token=")
    assert len(token) > 20
    for path in ("/", "/?token=", f"/?token={token}x", "/index.html"):
        status, _, body = ask(url, path)
        assert status == 401
        assert b"<html" not in body.lower()
    assert ask(url, "/", "recon-1=x; other=y")[0] == 401
    status, headers, _ = ask(url, f"/?token={token}")
    assert status == 303
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite" in cookie
    status, _, body = ask(url, "/", cookie.split(";")[0])
    assert status == 200
    assert b"<html" in body.lower()


def test_the_scene_is_not_told_without_the_token(open_to_all: Viewer) -> None:
    url, token = open_to_all.url.split("/?token=")
    protocol = [Subprotocol(f"viser-v{viser.__version__}")]
    address = url.replace("http", "ws")
    for uri in (address, f"{address}/?token=wrong"):
        with pytest.raises(InvalidStatus) as refusal:
            connect(uri, subprotocols=protocol)
        assert refusal.value.response.status_code == 401
    cookie = {"Cookie": f"recon-{port_of_url(url)}={token}"}
    with connect(address, subprotocols=protocol, additional_headers=cookie, max_size=None) as socket:
        assert isinstance(socket.recv(timeout=10), bytes)


def port_of_url(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def test_a_viser_that_goes_round_the_door_is_not_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viewer.door.Door._checked", lambda self, answer: answer)
    monkeypatch.setattr(
        "viewer.door.Door.guards", property(lambda self: False, lambda self, value: None), raising=False
    )
    before = set(threading.enumerate())
    with pytest.raises(ResourceError, match="cannot be made to ask for a token"):
        Viewer("x", host="0.0.0.0", port=0)
    wait_for(lambda: set(threading.enumerate()) <= before, "the server to end")


def test_local_pages_need_no_token(viewer: Viewer) -> None:
    assert "token" not in viewer.url
    assert ask(viewer.url, "/")[0] == 200
