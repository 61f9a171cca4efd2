"""The stage between stereo and training: photos that are missing, doubtful or contradicted are looked at again.

Where a photo gets a new camera, stereo is done again with it, and later stages read the revised poses and depth.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.config import to_mapping
from recon.events import Progress, SceneReady
from recon.optimize.placing import Decision, Evidence, Photo, PlacingConfig, contradicted, look_again, relative_pose
from recon.optimize.placing.decide import Action, disagrees, moved_by
from recon.pipeline import store
from recon.pipeline.core import Outcome, Run
from recon.pipeline.revising import is_sure, with_confirmation, with_doubt, with_placement, without_photo
from recon.pipeline.stages import Dense, Photos, poses_details
from recon.poses import learned, make_scene
from recon.poses.features import Features
from recon.poses.learned import AlikedMatcher
from recon.stereo import reconstruct
from recon.types import DepthMaps, PosedScene, PoseResult, PoseStatus

log = logging.getLogger(__name__)


class LearnedMatcher:
    """Pictures matched with ALIKED and LightGlue."""

    def features(self, picture: Float[Tensor, "H W 3"], limit: int) -> Features:
        return AlikedMatcher(max(picture.shape[:2]), limit).extract_turned(picture, 0)

    def match(self, a: Features, b: Features) -> tuple[Float[Tensor, "M 2"], Float[Tensor, "M 2"]]:
        pairs = AlikedMatcher(0).match(a, b)
        return a.keypoints[pairs[:, 0]], b.keypoints[pairs[:, 1]]


class PlacingStage:
    name = "placing"
    description = "looking again at doubtful photos"
    revises = ("poses", "dense")

    def settings(self, run: Run) -> Any:
        return to_mapping(run.config.placing)

    def compute(self, run: Run) -> Outcome:
        path = run.folder.state(self.name)
        state = _State(run)
        rows = state.look_at_all() if run.config.placing.enabled and learned.available()[0] else []
        for row in rows:
            if row["action"] in (Action.PLACED, Action.MOVED, Action.TAKEN_OUT) or row["doubted"] or row["vouched"]:
                run.warn(row["sentence"])
        if not state.changed:
            store.save(path, {})
            return Outcome({}, (path,), {"photos": rows, "cameras": []})
        dense = state.dense
        store.save(path, {"poses": state.poses, "depths": dense.depths, "points": dense.points})
        cameras = poses_details(state.images, state.poses)["photos"]
        details = {"photos": rows, "cameras": cameras, "points": len(dense.points)}
        return Outcome({"poses": state.poses, "dense": dense}, (path,), details)

    def load(self, run: Run) -> dict[str, Any]:
        saved = store.load(run.folder.state(self.name))
        if not saved:
            return {}
        return {"poses": saved["poses"], "dense": Dense(saved["depths"], saved["points"])}


class _State:
    """Poses and depth, which change with every photo that is placed."""

    def __init__(self, run: Run) -> None:
        photos: Photos = run.value("images")
        self.run, self.images = run, photos.used
        self.poses: PoseResult = run.value("poses")
        self.dense: Dense = run.value("dense")
        self.config: PlacingConfig = run.config.placing
        self.changed = False

    @property
    def scene(self) -> PosedScene:
        sparse = make_scene(self.images, self.poses, self.run.config.train.max_side)
        return replace(sparse, points=self.dense.points)

    def look_at_all(self) -> list[dict[str, Any]]:
        """Every suspect once; those that stay unplaced a second time if others were placed meanwhile."""
        scene = self.scene
        tested = contradicted(scene, self.dense.depths, self.run.rasterizer, self.config)
        left_out = dict(zip(scene.names, tested))
        suspects = [v for v in range(len(self.images)) if self._is_suspect(v, left_out)]
        rows = self._pass(suspects, suspects, left_out)
        again = [v for v in suspects if not self.poses.cameras.registered[v]]
        if again and any(row["action"] in (Action.PLACED, Action.MOVED) for row in rows):
            put = {row["name"] for row in rows if row["action"] in (Action.PLACED, Action.MOVED)}
            left = [v for v in suspects if self.images.names[v] not in put]
            doubtful = [v for v in left if self.poses.status[v] is not PoseStatus.OK]
            found = {row["name"]: row for row in self._pass(again, doubtful, left_out) if row["action"] != Action.LEFT}
            rows = [row for row in rows if row["name"] not in found] + list(found.values())
        return rows

    def _is_suspect(self, v: int, left_out: dict[str, tuple[float, float]]) -> bool:
        name = self.images.names[v]
        if self.poses.backend == "known" and self.poses.cameras.registered[v]:
            return False  # given cameras stay
        return self.poses.status[v] is not PoseStatus.OK or disagrees(*left_out[name], self.config)

    def _pass(
        self, photos: Sequence[int], suspects: Sequence[int], left_out: dict[str, tuple[float, float]]
    ) -> list[dict[str, Any]]:
        rows, moved = [], False
        scene, depths = self.scene, self.dense.depths  # as they are now: what is placed has no depth until the end
        for done, v in enumerate(photos):
            self.run.emit(Progress("placing", done, len(photos), f"looking for {self.images.names[v]}"))
            decision = self._decide(v, scene, depths, suspects)
            if self._is_to_go(v, decision, suspects):
                decision = decision.given_up(self.config)
            rows.append(self._row(v, decision, left_out.get(self.images.names[v])))
            log.info("%s", rows[-1]["sentence"])
            if decision.moves:
                self.poses, moved = with_placement(self.images, self.poses, v, decision), True
            elif decision.action is Action.TAKEN_OUT:
                self.poses, moved = without_photo(self.poses, v), True
            elif rows[-1]["vouched"]:
                self.poses, self.changed = with_confirmation(self.poses, v, decision), True
            elif rows[-1]["doubted"]:
                self.poses, self.changed = with_doubt(self.poses, v), True
        if moved:
            self.changed = True
            sparse = make_scene(self.images, self.poses, self.run.config.train.max_side)
            self.dense = Dense(*reconstruct(sparse, self.run.config.dense, self.run.emit))
            self.run.emit(SceneReady(self.scene))
        return rows

    def _decide(self, v: int, scene: PosedScene, depths: DepthMaps, suspects: Sequence[int]) -> Decision:
        """Against the photos that nothing is said against; where these are too few, against all others."""
        trusted = {self.images.names[j] for j in self._trusted(v, suspects) or self._registered() - {v}}
        others = [k for k, name in enumerate(scene.names) if name in trusted]
        placed, cam_from_placed = self._relative_poses(v)
        share = 1.0 if self.images.masks is None else float(self.images.masks[v].mean())
        photo = Photo(self.images.images[v], self.poses.cameras[v], placed, cam_from_placed, share)
        return look_again(photo, scene, depths, others, LearnedMatcher(), self.run.rasterizer, self.config)

    def _is_to_go(self, v: int, decision: Decision, suspects: Sequence[int]) -> bool:
        """Whether doubtful photo v would spoil the scene: photos that nothing is said against show something else."""
        low = self.poses.status[v] is PoseStatus.LOW
        return low and bool(self._trusted(v, suspects)) and decision.refutes(self.config)

    def _trusted(self, v: int, suspects: Sequence[int]) -> set[int]:
        """Placed photos that nothing is said against, to judge photo v by; none where there is only one."""
        trusted = self._registered() - {*suspects, v}
        return trusted if len(trusted) >= 2 else set()

    def _registered(self) -> set[int]:
        return set(self.poses.cameras.registered.nonzero().flatten().tolist())

    def _relative_poses(self, v: int) -> tuple[Tensor | None, Tensor | None]:
        """Placed photos' poses and v's pose relative to them, from the pairs' own matches, however few."""
        cameras, placed, relative = self.poses.cameras, [], []
        for pair in self.poses.pairs:
            other = pair.j if pair.i == v else pair.i
            if v not in (pair.i, pair.j) or not cameras.registered[other] or pair.points_i is None:
                continue
            assert pair.points_j is not None, "a pair's positions come together"
            mine, theirs = (pair.points_i, pair.points_j) if pair.i == v else (pair.points_j, pair.points_i)
            found = relative_pose(theirs, mine, cameras.Ks[other], cameras.Ks[v])
            if found is not None:
                placed.append(cameras.cam_from_world[other])
                relative.append(found)
        return (torch.stack(placed), torch.stack(relative)) if placed else (None, None)

    def _row(self, v: int, decision: Decision, left_out: tuple[float, float] | None) -> dict[str, Any]:
        found = None if decision.found is None else decision.found.evidence
        turned = None
        if decision.action is Action.MOVED and decision.found is not None:
            turned = round(moved_by(self.poses.cameras.cam_from_world[v], decision.found.cam_from_world), 1)
        # a photo that was `ok` must be confirmed once it is looked at
        looked = decision.action is Action.LEFT and decision.before is not None
        doubted = looked and self.poses.status[v] is PoseStatus.OK
        # and one that matching warned of may be confirmed
        low = self.poses.status[v] is PoseStatus.LOW
        vouched = low and decision.action is Action.CONFIRMED and is_sure(decision.before)
        return {
            "name": self.images.names[v],
            "action": decision.action.value,
            "doubted": doubted,
            "vouched": vouched,
            "sentence": sentence(self.images.names[v], decision, turned, doubted, low and not vouched),
            "left_out": None if left_out is None else dict(zip(("coverage", "agreement"), map(_short, left_out))),
            "before": _evidence(decision.before),
            "found": _evidence(found),
            "turned_deg": turned,
        }  # fmt: skip


def sentence(name: str, decision: Decision, turned_deg: float | None, doubted: bool, stays_low: bool) -> str:
    """What was done about a photo, for the report."""
    found = decision.found
    if decision.moves and found is not None:
        by = f"{found.evidence.inliers} matches with renderings of the other photos' points agree"
        if decision.action is Action.MOVED:
            return f"{name} was placed anew after the first reconstruction, {turned_deg:.0f} degrees turned: {by}."
        return f"{name}, which had no place, was placed after the first reconstruction: {by}."
    if decision.action is Action.CONFIRMED:
        if stays_low:
            return f"The points of the other photos agree with the place of {name}, but not enough to be sure of it."
        return f"The points of the other photos confirm the place of {name}."
    if decision.action is Action.TAKEN_OUT:
        return (
            f"{name} was taken out: where its matches put it, the other photos' points show something else, and no "
            "better place was found."
        )
    if doubted:
        return f"{name} may be placed wrongly: the points of the other photos do not confirm its place."
    if decision.before is None:
        return f"The points of the other photos do not say where {name} was taken."
    return f"The points of the other photos neither confirm {name}'s place nor lead to a better one."


def _evidence(evidence: Evidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    return {
        "inliers": evidence.inliers, "ratio": _short(evidence.ratio), "cells": evidence.cells,
        "coverage": _short(evidence.coverage), "agreement": _short(evidence.agreement),
    }  # fmt: skip


def _short(value: float) -> float:
    return round(value, 3)
