"""`ns-train recon`: what nerfstudio's plugin registry asks for."""

import torch
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.types import MethodSpecification

from recon.nerfstudio.dataparser import ReconDataParserConfig
from recon.nerfstudio.model import ReconModelConfig
from recon.nerfstudio.pipeline import ReconPipelineConfig
from recon.optimize import TrainConfig

recon = MethodSpecification(
    TrainerConfig(
        method_name="recon",
        max_num_iterations=TrainConfig().steps,
        steps_per_eval_batch=500,
        steps_per_eval_image=500,
        steps_per_eval_all_images=1000,
        steps_per_save=1000,
        machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
        pipeline=ReconPipelineConfig(
            datamanager=FullImageDatamanagerConfig(dataparser=ReconDataParserConfig()), model=ReconModelConfig()
        ),
        optimizers={},
        viewer=ViewerConfig(),
        vis="viewer",
    ),
    "Gaussian splats from a handful of photos, on a GPU or an ordinary CPU",
)
