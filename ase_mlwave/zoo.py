"""Models that ship, by the name that scripts import: `ase_mlwave.models.folder` is their home."""

from ase_mlwave.models.folder import (
    ModelConfig,
    ModelFolder,
    TrainingData,
    list_models,
    locate,
    read_card,
    read_config,
)

__all__ = ["ModelConfig", "ModelFolder", "TrainingData", "list_models", "locate", "read_card", "read_config"]
