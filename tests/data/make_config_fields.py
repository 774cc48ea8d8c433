"""The names of all fields of the configs that diffusers and transformers know, as golden/config_fields.json:

    python tests/data/make_config_fields.py OUT"""
import inspect
import json
import sys
import warnings

warnings.filterwarnings("ignore")
from diffusers import (AutoencoderKL, FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler,
                       FlowMatchLCMScheduler, ZImagePipeline, ZImageTransformer2DModel)
from transformers import GenerationConfig, LlamaConfig, Qwen2Config, Qwen3Config


def names(*classes):
    found = ["_class_name", "_diffusers_version"]
    for one in classes:
        found += [name for name in inspect.signature(one.__init__).parameters if name != "self"]
    return sorted(set(found))


def main(out):
    fields = {
        "transformer": names(ZImageTransformer2DModel),
        "vae": names(AutoencoderKL),
        "scheduler": names(FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler, FlowMatchLCMScheduler),
        "model_index": names(ZImagePipeline),
        "qwen": sorted({name for config in (Qwen3Config, Qwen2Config, LlamaConfig) for name in config().to_dict()}),
        "generation": sorted(GenerationConfig().to_dict()),
    }
    with open(out, "w") as f:
        json.dump(fields, f, indent=1)
        f.write("\n")


main(*sys.argv[1:])
