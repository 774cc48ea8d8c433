"""Trains text encoder and transformer together: rectified flow on latents of random scenes.

The schedule follows CPU time, so that other load does not shorten it: --minutes is
the total for each rank, including resumed runs, and the learning rate reaches zero at
its end.  --start continues from an exported model with lower learning rates, which
fall almost from the start.

usage: train.py FOLDER [--minutes 95] [--ranks 2] [--batch 24] [--start MODEL] [--resume]
Reads tokenizer/ and latents.npz in FOLDER; writes last.pt there.
"""
import argparse
import os
import random
import time
from dataclasses import replace

import numpy as np
import torch
import torch.distributed as dist
from tokenizers import Tokenizer

import scenes
from latents import Latents
from model import BFLOAT16, MULTIPLE, Model, load_exported

SEED = 20251123
SHIFT = 3.0
DECAY_FROM = 0.62       # fraction of the time after which the learning rate falls
START_STEP = 10**5      # first step of a --start run, so that its batches differ from those before
START_DECAY_FROM = 0.15
START_PEAK = 0.7
EMA = 0.992


# -------------------------------------------------------------------- data

def chat(prompt):
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


def encode(tokenizer, prompts):
    """-> ids [b, n], valid [b, n] (False for padding); n is a multiple of 32"""
    rows = [tokenizer.encode(chat(p)).ids for p in prompts]
    n = max(len(r) for r in rows)
    n += -n % MULTIPLE
    ids = torch.tensor([r + [0] * (n - len(r)) for r in rows])
    return ids, torch.tensor([[True] * len(r) + [False] * (n - len(r)) for r in rows])


class Data:
    """Batches, which depend on the seed, step and rank alone."""

    def __init__(self, folder, rank):
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer/tokenizer.json")
        self.latents, self.rank = Latents(f"{folder}/latents.npz"), rank

    def size(self, step, progress):
        """Width and height: 128 x 128 at first, other sizes later. progress: 0 to 1"""
        rng = random.Random(SEED + step)
        if rng.random() >= (0.0 if progress < 0.1 else 0.3 if progress < 0.6 else 0.85):
            return 128, 128
        if rng.random() < 0.12:
            return 16 * rng.randint(8, 16), 16 * rng.randint(8, 16)
        return rng.choices(((192, 192), (192, 128), (128, 192), (256, 256), (256, 192), (192, 256), (160, 128)),
                           (6, 2, 2, 16, 3, 3, 1))[0]

    def scene(self, rng, width, height):
        """A random scene that is not held out. Large images have a large thing more often: those are hardest to learn."""
        while True:
            scene = scenes.random_scene(rng)
            if width * height >= 192 * 192 and rng.random() < 0.3:
                thing = scene.things[0]
                place = rng.choice(scenes.PLACE_NAMES) if rng.random() < 0.6 else ""
                scene = scenes.Scene(scene.background, (replace(thing, size="large", place=place),))
            if not scenes.held_out(scene):
                return scene

    def batch(self, step, count, width, height):
        """-> ids, valid, clean latents, sigma [count], noise. sigma is 1 in half of the batch."""
        rng = random.Random(SEED + 2 * step + self.rank + 10**9)
        noise_rng = torch.Generator().manual_seed(SEED + 2 * step + self.rank)
        prompts, clean = [], []
        while len(prompts) < count:
            scene = self.scene(rng, width, height)
            text, _ = scenes.caption(rng, scene)
            prompts.append("" if rng.random() < 0.01 else text)
            clean.append(self.latents.of_scene(scene, width, height))
        clean = torch.from_numpy(np.stack(clean))
        ids, valid = encode(self.tokenizer, prompts)
        u = torch.rand(count, generator=noise_rng)
        sigma = SHIFT * u / (1 + (SHIFT - 1) * u)
        sigma[:count // 2] = 1
        return ids, valid, clean, sigma, torch.randn(clean.shape, generator=noise_rng)


# --------------------------------------------------------------- optimizer

def orthogonalize(g):
    """Newton-Schulz iteration: matrices g [n, a, b] -> nearly orthogonal ones of equal row space."""
    x = g.bfloat16() if BFLOAT16 else g
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


class Muon:
    """The Muon optimizer: momentum with orthogonalized steps. Each rank computes the steps of its share of matrices."""

    def __init__(self, matrices, rank, ranks, momentum=0.95, decay=0.05):
        self.groups = {}
        for p in matrices:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.buffers = {s: torch.zeros(len(ps), *s) for s, ps in self.groups.items()}
        self.rank, self.ranks, self.momentum, self.decay = rank, ranks, momentum, decay

    @torch.no_grad()
    def step(self, rate):
        steps = []
        for shape, matrices in self.groups.items():
            g = torch.stack([p.grad for p in matrices])
            buffer = self.buffers[shape]
            buffer.lerp_(g, 1 - self.momentum)
            mine = slice(self.rank, None, self.ranks)
            update = torch.zeros_like(g)
            update[mine] = orthogonalize(g[mine].lerp(buffer[mine], self.momentum))
            slow = 0.5 if min(shape) < 192 else 1.0      # the text encoder, which has no norms after its blocks
            steps.append(update * slow * max(1, shape[0] / shape[1]) ** 0.5)
        flat = torch.cat([s.flatten() for s in steps])
        if self.ranks > 1:
            dist.all_reduce(flat)
        at = 0
        for shape, matrices in self.groups.items():
            for p in matrices:
                p.mul_(1 - rate * self.decay).sub_(flat[at:at + p.numel()].view(shape), alpha=rate)
                at += p.numel()


def split_parameters(model):
    """-> hidden matrices (for Muon), parameter groups for Adam: weights that act on all tokens have lower rates."""
    hidden, groups = [], {2e-3: [], 1e-3: [], 6e-4: [], 3e-4: []}
    for name, p in model.named_parameters():
        if p.ndim == 2 and any(k in name for k in (".attention.", ".feed_forward.", ".self_attn.", "text.layers")):
            hidden.append(p)
        elif "embed_tokens" in name or "pad_token" in name:
            groups[2e-3].append(p)
        elif "t_embedder" in name:
            groups[3e-4].append(p)
        elif "adaLN" in name or "x_embedder" in name or "final_layer" in name or "cap_embedder" in name:
            groups[6e-4].append(p)
        else:
            groups[1e-3].append(p)
    return hidden, [dict(params=ps, top=top) for top, ps in groups.items()]


# ---------------------------------------------------------------- training

def learning_rate_factor(step, progress):
    """Warm-up over 100 steps, then constant, then linear to zero. progress: 0 to 1"""
    started = step >= START_STEP
    begin, peak, first = (START_DECAY_FROM, START_PEAK, START_STEP) if started else (DECAY_FROM, 1.0, 0)
    return peak * min(1.0, (step - first + 1) / 100) * min(1.0, (1 - progress) / (1 - begin))


def average_gradients(parameters, extra, ranks):
    """Averages the gradients, and the number extra, over the ranks. -> the average of extra"""
    flat = torch.cat([p.grad.flatten() for p in parameters] + [torch.tensor([extra])])
    if ranks > 1:
        dist.all_reduce(flat)
        flat /= ranks
    at = 0
    for p in parameters:
        p.grad.copy_(flat[at:at + p.numel()].view_as(p))
        at += p.numel()
    return flat[-1].item()


def flow_loss(model, ids, valid, clean, sigma, noise):
    """-> weighted loss, mean error where sigma is 1"""
    s = sigma[:, None, None, None]
    with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
        out = model(s * noise + (1 - s) * clean, 1 - sigma, ids, valid)
    error = (out.float() - (clean - noise)).square().mean((1, 2, 3))
    # Low-contrast scenes have a higher weight: otherwise errors at their edges hardly count.
    spread = (clean - clean.mean((2, 3), keepdim=True)).square().mean((1, 2, 3))
    weight = spread.clamp(min=1e-3).rsqrt()
    weight = (weight / weight.mean()).clamp(0.5, 3)
    return (weight * error).mean(), error[sigma == 1].mean().item()


def run(rank, args):
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    if args.ranks > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(args.port))
        dist.init_process_group("gloo", rank=rank, world_size=args.ranks)
    model = Model()
    if args.start:
        load_exported(model, args.start)
    hidden, groups = split_parameters(model)
    muon = Muon(hidden, rank, args.ranks)
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    ema = {k: v.clone() for k, v in model.state_dict().items()}
    step, spent = START_STEP if args.start else 0, 0.0
    if args.resume:
        state = torch.load(f"{args.folder}/last.pt")
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
        muon.buffers, ema, step, spent = state["muon"], state["ema"], state["step"], state["spent"]
    trained = [p for p in model.parameters()]
    for p in trained:            # the text encoder's last layer and norm are not used and get no gradient
        p.grad = torch.zeros_like(p)
    data = Data(args.folder, rank)
    began, saved = time.process_time(), time.time()
    progress, last_now = spent / (60 * args.minutes), spent
    losses = []
    while progress < 1:
        width, height = data.size(step, 1 if step >= START_STEP else progress)
        tokens = width * height // 256
        tokens += -tokens % MULTIPLE + MULTIPLE
        count = max(4, round(args.batch * 96 / tokens))
        loss, pure = flow_loss(model, *data.batch(step, count, width, height))
        loss.backward()
        now = spent + time.process_time() - began
        progress = average_gradients(trained, now / (60 * args.minutes), args.ranks)
        scale = learning_rate_factor(step, progress)
        muon.step(0.02 * scale)
        for group in adam.param_groups:
            group["lr"] = group["top"] * scale
        adam.step()
        torch._foreach_zero_([p.grad for p in trained])
        step += 1
        with torch.no_grad():
            keep = min(EMA, step / (step + 10))
            torch._foreach_lerp_(list(ema.values()), list(model.state_dict().values()), 1 - keep)
        losses.append((loss.item(), pure, count))
        if rank == 0 and step % 50 == 0:
            a, b, n = np.array(losses).T
            line = (f"step {step} progress {progress:.4f} loss {a.mean():.4f} from noise {b.mean():.4f} "
                    f"images/s {args.ranks * n.sum() / (now - last_now):.1f}")
            print(line, flush=True)
            losses = []
        if step % 50 == 0:
            last_now = now
        if rank == 0 and (time.time() - saved > 150 or progress >= 1):
            state = dict(model=model.state_dict(), ema=ema, adam=adam.state_dict(), muon=muon.buffers,
                         step=step, spent=spent + time.process_time() - began)
            torch.save(state, f"{args.folder}/last.tmp")
            os.replace(f"{args.folder}/last.tmp", f"{args.folder}/last.pt")
            saved = time.time()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--minutes", type=float, default=95)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batch", type=int, default=24, help="128 x 128 images per rank and step")
    parser.add_argument("--port", type=int, default=29511)
    parser.add_argument("--start", metavar="MODEL", help="an exported model to continue from")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    if args.ranks > 1:
        torch.multiprocessing.spawn(run, (args,), args.ranks)
    else:
        run(0, args)


if __name__ == "__main__":
    main()
