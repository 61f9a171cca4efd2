"""`--prior` from the command line to the settings, the check before the work, and what doctor says."""

from pathlib import Path

import pytest

from recon.cli import doctor_command
from recon.cli.options import Run, parse
from recon.cli.run_command import photos_config
from recon.errors import InputError, MissingDependencyError
from recon.pipeline import run
from recon.priors import diffusion
from recon.priors.depth import DEPTH_MODELS
from recon.priors.diffusion import Licence, NullPrior

ASSETS = Path(__file__).parents[2] / "assets" / "demo"


class Absent(NullPrior):
    name = "absent"
    licence = Licence("Some Licence", "https://example.org", 1200.0, commercial=False)

    def available(self) -> tuple[bool, str]:
        return False, "Get it: hf download somebody/weights."


def test_the_prior_and_its_time_reach_the_settings(tmp_path: Path) -> None:
    options = parse(["run", "--images", str(tmp_path), "--prior", "blend", "--prior-seconds", "20"])
    assert isinstance(options, Run)
    pseudo = photos_config(options).train.pseudo
    assert (pseudo.prior, pseudo.seconds) == ("blend", 20.0)
    plain = parse(["run", "--images", str(tmp_path), "--set", "train.pseudo.seconds=30"])
    assert isinstance(plain, Run)
    untouched = photos_config(plain).train.pseudo
    assert (untouched.prior, untouched.seconds) == ("none", 30.0)


def test_a_prior_that_cannot_run_stops_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(diffusion.PRIORS, "absent", Absent)
    monkeypatch.delenv("RECON_ALLOW_DOWNLOAD", raising=False)
    out = tmp_path / "out"
    for name, error in (("absent", MissingDependencyError), ("blur", InputError)):
        options = parse(["run", "--images", str(ASSETS), "--out", str(out), "--prior", name])
        assert isinstance(options, Run)
        with pytest.raises(error, match=name):
            run(photos_config(options))
    assert not out.exists()


def test_doctor_names_priors_with_licence_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion, "PRIORS", {"none": NullPrior, "blend": diffusion.BlendPrior, "absent": Absent})
    blend, absent, *depths = doctor_command._priors()
    assert (blend.name, blend.state, blend.found) == ("prior: blend", "ok", "ready")
    assert absent.state == "ok", "optional"
    for said in ("Some Licence", "1200 MB", "no commercial use", "hf download somebody/weights"):
        assert said in absent.found
    assert [depth.name for depth in depths] == [f"depth-prior: {name}" for name in DEPTH_MODELS]


def test_a_depth_prior_brings_a_term_that_listens_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECON_ALLOW_DOWNLOAD", raising=False)
    arguments = ["run", "--images", str(ASSETS), "--out", str(tmp_path / "out"), "--depth-prior", "depth-anything-v2"]
    options = parse([*arguments, "--set", f"depth_prior.checkpoint={tmp_path / 'nowhere'}"])
    assert isinstance(options, Run)
    config = photos_config(options)
    assert (config.depth_prior.model, config.train.loss.correlation) == ("depth-anything-v2", 0.05)
    with pytest.raises((InputError, MissingDependencyError), match="depth-anything-v2"):
        run(config)
    assert not (tmp_path / "out").exists()
    chosen = parse([*arguments, "--set", "train.loss.ranking=0.2"])
    assert isinstance(chosen, Run)
    assert photos_config(chosen).train.loss.correlation == 0
