"""Reference data of schedules and samplers, from diffusers' own scheduler classes:

    python tests/data/make_samplers.py MODEL OUT

MODEL: golden/model. OUT: golden. Writes samplers.json (sigmas of every family, with diffusers' configs) and
samplers.safetensors with samplers-runs.json (latents after each step of whole runs with Heun and LCM). The loop is that
of ZImagePipeline, but the noise of FlowMatchLCMScheduler comes from the generator of the initial noise, and
FlowMatchHeunDiscreteScheduler, which takes no sigmas, gets those of the pipeline where a run says so."""
import json
import sys
import warnings

warnings.filterwarnings("ignore")
import torch
from diffusers import (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler, FlowMatchLCMScheduler,
                       ZImagePipeline)
from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift, get_default_z_image_sigmas
from safetensors.torch import save_file

torch.set_num_threads(1)


def mu_of(scheduler, tokens):
    get = scheduler.config.get
    return calculate_shift(tokens, get("base_image_seq_len", 256), get("max_image_seq_len", 4096),
                           get("base_shift", 0.5), get("max_shift", 1.15))


def schedules():
    configs = [{"shift": shift, family: True}
               for family in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
               for shift in (1.0, 3.0, 6.0)]
    configs += [{"shift": shift, "shift_terminal": end} for shift, end in ((1.0, 0.02), (3.0, 0.1), (6.0, 0.3))]
    configs += [{"shift": 3.0, "shift_terminal": 0.1, family: True}
                for family in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")]
    configs += [{"use_dynamic_shifting": True, "shift": 3.0},
                {"use_dynamic_shifting": True, "time_shift_type": "linear"},
                {"use_dynamic_shifting": True, "base_shift": 0.3, "max_shift": 2.0, "base_image_seq_len": 100,
                 "max_image_seq_len": 6000},
                {"use_dynamic_shifting": True, "use_beta_sigmas": True, "shift_terminal": 0.05}]
    rows = []
    for config in configs:
        for steps in (1, 2, 3, 4, 9, 28, 50):
            if steps == 1 and "shift_terminal" in config:
                continue  # diffusers divides zero by zero
            for width, height in ((1024, 1024), (640, 368)) if "use_dynamic_shifting" in config else ((1024, 1024),):
                scheduler = FlowMatchEulerDiscreteScheduler(**config)
                scheduler.set_timesteps(sigmas=get_default_z_image_sigmas(steps),
                                        mu=mu_of(scheduler, width * height // 256))
                rows.append({"config": config, "steps": steps, "width": width, "height": height,
                             "sigmas": [float(f"{x:.9g}") for x in scheduler.sigmas.tolist()]})
    return rows


RUNS = [
    {"name": "heun5", "class": "Heun", "steps": 5, "shift": 3.0, "seed": 11, "width": 64, "height": 48},
    {"name": "heun4_own", "class": "Heun", "own": True, "steps": 4, "shift": 3.0, "seed": 12, "width": 48, "height": 64},
    {"name": "heun3_cfg", "class": "Heun", "steps": 3, "shift": 6.0, "seed": 13, "width": 64, "height": 48,
     "guidance": 4.0, "negative": "blurry, text"},
    {"name": "lcm4", "class": "LCM", "steps": 4, "shift": 3.0, "seed": 14, "width": 64, "height": 48},
    {"name": "lcm6_beta", "class": "LCM", "steps": 6, "shift": 3.0, "seed": 15, "width": 48, "height": 64,
     "config": {"use_beta_sigmas": True}},
    {"name": "euler6_stochastic", "class": "Euler", "steps": 6, "shift": 3.0, "seed": 16, "width": 64, "height": 48,
     "config": {"stochastic_sampling": True, "use_karras_sigmas": True}},
]
CLASSES = {"Heun": FlowMatchHeunDiscreteScheduler, "LCM": FlowMatchLCMScheduler, "Euler": FlowMatchEulerDiscreteScheduler}
PROMPT = "a lighthouse above the sea, oil on canvas"


def prepare(run):
    scheduler = CLASSES[run["class"]](shift=run["shift"], **run.get("config", {}))
    sigmas = get_default_z_image_sigmas(run["steps"])
    if run["class"] != "Heun":
        scheduler.set_timesteps(sigmas=sigmas, mu=mu_of(scheduler, run["width"] * run["height"] // 256))
        return scheduler
    scheduler.set_timesteps(run["steps"])
    if not run.get("own"):  # the sigmas of the pipeline, each but the first and last twice
        euler = FlowMatchEulerDiscreteScheduler(shift=run["shift"])
        euler.set_timesteps(sigmas=sigmas)
        s = euler.sigmas
        scheduler.sigmas = torch.cat([s[:1], s[1:-1].repeat_interleave(2), s[-1:]])
        t = euler.timesteps
        scheduler.timesteps = torch.cat([t[:1], t[1:].repeat_interleave(2)])
    return scheduler


def predict(pipe, run, latents, t, positive, negative):
    def call(embeds):
        return pipe.transformer([latents[0].unsqueeze(1)], (1000 - t.reshape(1)) / 1000, embeds,
                                return_dict=False)[0][0].float()
    out = call(positive)
    if run.get("guidance"):
        out = out + run["guidance"] * (out - call(negative))
    return -out.squeeze(1).unsqueeze(0)


@torch.no_grad()
def whole_run(pipe, run, tensors):
    scheduler = prepare(run)
    scheduler.set_begin_index(0)
    guided = bool(run.get("guidance"))
    positive, negative = pipe.encode_prompt(PROMPT, negative_prompt=run.get("negative"), do_classifier_free_guidance=guided)
    generator = torch.Generator("cpu").manual_seed(run["seed"])
    latents = torch.randn((1, 16, run["height"] // 8, run["width"] // 8), generator=generator)
    kept = [latents]
    heun = run["class"] == "Heun"
    for t in scheduler.timesteps:
        velocity = predict(pipe, run, latents, t, positive, negative)
        latents = scheduler.step(velocity, t, latents, generator=generator, return_dict=False)[0]
        if not heun or scheduler.state_in_first_order:
            kept.append(latents)
        elif len(kept) == run["steps"]:
            kept.append(latents)  # the last step, of one call
    assert len(kept) == run["steps"] + 1, (run, len(kept))
    for i, x in enumerate(kept):
        tensors[f"{run['name']}.latents.{i}"] = x[0].contiguous()
    return len(scheduler.timesteps)


def main(model, out):
    with open(f"{out}/samplers.json", "w") as f:
        rows = schedules()
        f.write("[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n")
    pipe = ZImagePipeline.from_pretrained(model, torch_dtype=torch.float32)
    tensors, runs = {}, []
    for run in RUNS:
        calls = whole_run(pipe, run, tensors)
        runs.append({**run, "prompt": PROMPT, "calls": calls})
    save_file(tensors, f"{out}/samplers.safetensors")
    with open(f"{out}/samplers-runs.json", "w") as f:
        json.dump(runs, f, indent=1)
        f.write("\n")


main(*sys.argv[1:])
