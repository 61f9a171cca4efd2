"""scene.html: the splats on one page that opens from disk, with a viewer of its own and no network."""

from recon.report.scene_page.page import PageView, ScenePage, build_scene_page

__all__ = ["PageView", "ScenePage", "build_scene_page"]
