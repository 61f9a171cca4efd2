"""Who draws the Gaussians of a tab: its browser, or our renderer on the server, which sends it frames.

What a browser cannot draw (exact harmonics, depth, comparisons) is drawn here for all tabs. The rest is the browser's,
unless it has no graphics card: WebGL in software takes 0.17 s of a core for a picture of 5000 Gaussians and 1.4 s for
60 000 (SwiftShader, 640 x 480), where our renderer takes 0.02 s for 100 000.
"""

import threading

from viewer.flight import Pilot
from viewer.link import PageLink, draws_in_software
from viewer.looks import Look
from viewer.painter import Painter
from viewer.stage import Stage

SOFTWARE_SPLATS = 2000
"""Most Gaussians that a browser without a graphics card is given to draw."""


class Sharing:
    """Decides for each of `pilots`, the tabs by their id."""

    def __init__(self, link: PageLink, stage: Stage, painter: Painter, pilots: dict[int, Pilot]) -> None:
        self._link, self._stage, self._painter, self._pilots = link, stage, painter, pilots
        self._lock = threading.RLock()
        link.hear("renderer", lambda tab, name: self._learn(tab.client_id, draws_in_software(name)))

    def welcome(self, pilot: Pilot) -> None:
        """Serve a new tab, and ask what draws its pictures."""
        self.update()
        self._link.meet(pilot.client)

    def _learn(self, client_id: int, in_software: bool) -> None:
        pilot = self._pilots.get(client_id)
        if pilot is not None and pilot.in_software != in_software:
            pilot.in_software = in_software
            self.update()

    def update(self) -> None:
        """Bring all tabs in line with what was asked for and what they can do."""
        with self._lock:
            for pilot in list(self._pilots.values()):
                self._stage.draw_splats_in(pilot.client, not self._too_much_for(pilot))
                framed = self.by_server(pilot.client.client_id)
                if pilot.framed and not framed:
                    self._stage.clear_frame(pilot.client, self._painter.background)
                pilot.framed = framed

    def by_server(self, client_id: int) -> bool:
        """Whether the server draws what one tab shows."""
        pilot = self._pilots.get(client_id)
        if pilot is None or self._painter.by_server:
            return pilot is not None
        return self._painter.look is Look.SPLATS and self._too_much_for(pilot)

    def _too_much_for(self, pilot: Pilot) -> bool:
        model = self._painter.model
        return pilot.in_software and model is not None and len(model.splats) > SOFTWARE_SPLATS
