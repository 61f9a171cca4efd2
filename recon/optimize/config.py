"""Every knob of the optimiser, beside a sentence that says what it does and why its default is what it is."""

from dataclasses import dataclass, field

from recon.optimize.backdrop import BackdropConfig
from recon.optimize.budget.config import BudgetConfig
from recon.optimize.coherent import CoherentConfig
from recon.optimize.decay import DecayConfig
from recon.optimize.dropout import DropoutKind
from recon.optimize.exposure import ExposureConfig
from recon.optimize.flats import FlatsConfig
from recon.optimize.growth.config import DensifyConfig
from recon.optimize.horizon import HorizonConfig
from recon.optimize.hull import HullConfig
from recon.optimize.init import InitConfig
from recon.optimize.parameters import RateConfig
from recon.optimize.pseudo.config import PseudoConfig
from recon.optimize.shine import ShineConfig
from recon.optimize.stopping import StoppingConfig
from recon.optimize.structure import StructureConfig
from recon.optimize.terms.config import LossConfig, TermsConfig
from recon.optimize.undercoat import UndercoatConfig


@dataclass(frozen=True)
class TrainConfig:
    """The whole of the optimisation."""

    steps: int = 3000
    max_side: int = 640
    """Longest side, in pixels, of the photos that are optimised against."""
    coarse_scale: float = 0.5
    """Resolution at the first step; it grows to full over `coarse_until` of the steps."""
    coarse_until: float = 0.4
    sh_degree: int = 1
    """Low on purpose: with few photos, high degrees memorise the viewpoint (FSGS, DNGaussian). `shine` may raise it."""
    sh_from: float = 0.3
    """View-dependent colour is released after this fraction of the steps."""
    dropout: float = 0.1
    """Largest share of Gaussians left out of a step, reached at the last step (DropGaussian, CVPR 2025)."""
    dropout_kind: DropoutKind = "compensated"
    """What is done to the others: strengthened (`compensated`, DropGaussian), left as they are and dimmed at the end
    (`plain`), or none left out and all opacities shaken by this share (`noise`, then 0.5; both of Chen et al. 2025)."""
    decay: DecayConfig = field(default_factory=DecayConfig)
    random_background: bool = True
    """A new colour behind the splats at each step, so that no hole can hide behind a matching background."""
    refine_poses: bool = True
    pose_from: float = 0.1
    """Poses stay fixed until the splats carry some structure."""
    refine_exposure: bool = True
    exposure: ExposureConfig = field(default_factory=ExposureConfig)
    shine: ShineConfig = field(default_factory=ShineConfig)
    init: InitConfig = field(default_factory=InitConfig)
    flats: FlatsConfig = field(default_factory=FlatsConfig)
    backdrop: BackdropConfig = field(default_factory=BackdropConfig)
    hull: HullConfig = field(default_factory=HullConfig)
    densify: DensifyConfig = field(default_factory=DensifyConfig)
    coherent: CoherentConfig = field(default_factory=CoherentConfig)
    structure: StructureConfig = field(default_factory=StructureConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    terms: TermsConfig = field(default_factory=TermsConfig)
    pseudo: PseudoConfig = field(default_factory=PseudoConfig)
    undercoat: UndercoatConfig = field(default_factory=UndercoatConfig)
    horizon: HorizonConfig = field(default_factory=HorizonConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    rates: RateConfig = field(default_factory=RateConfig)
    seed: int = 0
    publish_every: int = 100
    """Steps between two updates of the live viewer."""
    checkpoint_seconds: float = 20.0
