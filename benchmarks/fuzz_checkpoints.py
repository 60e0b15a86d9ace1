"""Weights from strangers: mutated files load, or are refused by an error that names them.

    python -m benchmarks.fuzz_checkpoints 2000 [--seed 0]

A small model is written as safetensors and in the published form of a training checkpoint. Each
round changes one of them: fields of the stored config, keys and tensors of the tree, values in
weights, bytes of the file. What comes out is counted: loaded, refused by a ValueError or
FileNotFoundError that names the file, or anything else, which is printed. A connection, a started
program, a file opened elsewhere for writing and a case that does not end count as anything else,
too, and end the run with exit status 1.

``python -m benchmarks.fuzz_checkpoints 2000``: 360 loaded, 1640 refused, 0 faults; 150 CPU s, at
most 0.78 GiB of memory.
"""

import argparse
import collections
import json
import os
import random
import struct
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.fuzzing import Hung, took, within
from unidino.models import checkpoints, vit

ODD = [
    None, True, 0, -1, 1, 3, 1.5, 10**6, 10**12, 10**400, float("nan"), float("inf"), "", "x", "16",
    "cls", "\0", "é" * 300, [], [1, 2], [float("nan")], {}, {"a": 1}, [[]], "vit_huge", "vit_small",
    "timm:hf-hub:timm/resnet18", "timm:hf_hub:timm/resnet18", "timm:local-dir:/tmp", "timm:../x",
    "timm:resnet10t.../x", "torchvision:../x", "torchvision:resnet18", "timm:", "hub:x", "plate",
]  # fmt: skip


class Program:
    """What a pickle runs, if it is let."""

    def __reduce__(self):
        return os.system, ("true",)


def odd_tensors(like):
    """Tensors in the place of one, hardly any of which fits."""
    shape = like.shape or (1,)
    return [
        torch.full(shape, float("nan")), torch.full(shape, float("inf")), like.double() * 1e300,
        like.to(torch.float8_e4m3fn), like.half(), like.bfloat16(), like.to(torch.int8),
        like.bool(), torch.complex(like.float(), like.float()), like.new_zeros(()),
        like.new_zeros((0,)), like.reshape(-1), like.unsqueeze(0), like[:1],
        torch.zeros(1).expand(10**6, 10**5), like.to_sparse(), like.to("meta"),
        torch.nn.Parameter(like.float()),
        torch.quantize_per_tensor(like.float(), 0.1, 0, torch.qint8),
    ]  # fmt: skip


def mutated_config(rng, config):
    changed = dict(config)
    for _ in range(rng.choice([1, 1, 2])):
        kind = rng.random()
        key = rng.choice(list(changed) or ["arch"])
        if kind < 0.8:
            changed[key] = rng.choice(ODD)
        elif kind < 0.9:
            changed.pop(key, None)
        else:
            changed[rng.choice(["wings", "", "__class__", "from_dict"])] = rng.choice(ODD)
    return changed


def mutated_tree(rng, tree, depth=0):
    """A tree of dicts with one leaf or branch changed."""
    if not isinstance(tree, dict) or not tree or (depth and rng.random() < 0.15):
        if isinstance(tree, torch.Tensor) and rng.random() < 0.8:
            return rng.choice(odd_tensors(tree.detach()))
        return Program() if rng.random() < 0.05 else rng.choice(ODD)
    key = rng.choice(list(tree))
    kind = rng.random()
    changed = dict(tree)
    if kind < 0.1:
        del changed[key]
    elif kind < 0.2:
        changed[rng.choice([7, None, "blocks.x.y", "blocks.99999.norm1.bias", ""])] = tree[key]
    else:
        changed[key] = mutated_tree(rng, tree[key], depth + 1)
    return changed


def mutated_bytes(rng, data, front):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 4, 30])):
        if not data:
            break
        at = rng.randrange(min(front, len(data)) if rng.random() < 0.7 else len(data))
        kind = rng.random()
        if kind < 0.6:
            data[at] ^= 1 << rng.randrange(8)
        elif kind < 0.75:
            data[at : at + rng.randrange(1, 40)] = b""
        elif kind < 0.9:
            data[at:at] = rng.randbytes(rng.randrange(1, 40))
        else:
            data = data[: max(1, at)]
    return bytes(data)


class Round:
    """The good files, and a mutation of one of them."""

    def __init__(self, folder, seed):
        self.folder = Path(folder)
        self.rng = random.Random(seed)
        self.model = vit.seeded(vit.arch_config("vit_tiny", embed_dim=12, size=32), 0)
        checkpoints.save_model(self.model, self.folder / "good.safetensors", {"epoch": 1})
        self.state = self.model.weights()
        self.config = checkpoints.read_header(self.folder / "good.safetensors")["config"]
        torch.save(self._published(), self.folder / "good.pth")

    def _published(self):
        backbone = {f"backbone.{k}": v for k, v in self.state.items()}
        arguments = argparse.Namespace(arch="vit_tiny", model_config=self.config)
        return {"teacher": backbone, "student": backbone, "epoch": 1, "args": arguments}

    def file(self, number):
        kind = self.rng.choice(["config", "text", "tree", "args", "bytes", "pickle"])
        path = self.folder / f"f{number}.{'pth' if kind in ('tree', 'args') else 'safetensors'}"
        if kind == "config":
            header = {"config": mutated_config(self.rng, self.config)}
            save_file(self.state, path, metadata={"unidino": json.dumps(header)})
        elif kind == "text":
            text = self.rng.choice(["{", "[]", "3", '"x"', "[" * 10**5, '{"config": []}', "null"])
            save_file(self.state, path, metadata={"unidino": text})
        elif kind == "tree":
            torch.save(mutated_tree(self.rng, self._published()), path)
        elif kind == "args":
            content = self._published()
            content["args"].model_config = mutated_config(self.rng, self.config)
            if self.rng.random() < 0.4:
                content["args"] = argparse.Namespace(arch=self.rng.choice(ODD))
            torch.save(content, path)
        else:
            source = self.folder / ("good.pth" if kind == "pickle" else "good.safetensors")
            data = source.read_bytes()
            front = len(data)
            if source.suffix == ".safetensors":
                front = 8 + struct.unpack("<Q", data[:8])[0]
            path = path.with_suffix(source.suffix)
            path.write_bytes(mutated_bytes(self.rng, data, front))
        return kind, path


class Watch:
    """What happens in this process besides reading: connections, programs, files written.

    It stays for good, as Python lets no hook go, and looks only where it is told to.
    """

    EVENTS = (
        "socket.connect", "socket.getaddrinfo", "os.system", "os.exec", "subprocess.Popen",
        "os.mkdir", "os.remove",
    )  # fmt: skip

    def __init__(self):
        self.on, self.seen = False, []
        sys.addaudithook(self._audit)

    def _audit(self, event, arguments):
        if not self.on:
            return
        if event in self.EVENTS:
            self.seen.append(event)
        if event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]:
            self.seen.append(f"open {arguments[0]}")


def outcome(path, watch=None):
    """What became of a file: "loaded", "refused", or the fault in words."""
    if watch:
        watch.seen, watch.on = [], True
    try:
        with within():
            checkpoints.load_checkpoint(path)
        ended = "loaded"
    except Hung as error:
        ended = f"hung: {error}"
    except (ValueError, FileNotFoundError) as error:
        ended = "refused" if str(path) in str(error) else f"unnamed: {error!r}"
    except Exception as error:
        ended = f"{type(error).__name__}: {error}"
    if watch:
        watch.on = False
        ended = f"did {watch.seen}" if watch.seen else ended
    return ended


def cases(folder, count, seed=0, watch=None):
    """Load changed files, one after another: (number, what was changed, how it ended)."""
    rounds = Round(folder, seed)
    # What is loaded on first use is loaded now.
    checkpoints.load_checkpoint(rounds.folder / "good.pth")
    for number in range(count):
        kind, path = rounds.file(number)
        yield number, kind, outcome(path, watch)
        path.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=1000, help="files to load")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts, faults = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for number, kind, ended in cases(folder, given.count, given.seed, Watch()):
            if ended in ("loaded", "refused"):
                counts[kind, ended] += 1
            else:
                faults += 1
                counts[kind, "anything else"] += 1
                print(f"{kind} {number}: {ended[:300]}", flush=True)
    for (kind, ended), count in sorted(counts.items()):
        print(f"{kind:8} {ended:14} {count}")
    print(f"{given.count} files, {faults} faults; {took()}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
