"""Export a small network of every kind of shipped model to ONNX and OpenVINO, and print the differences.

    scripts/check_exports [PATTERN]

The tests export a few; this takes minutes. Exit code 1 tells that one was refused.
"""

from __future__ import annotations

import fnmatch
import sys
import tempfile
from pathlib import Path

import torch

import resnet_factory as rf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from references import randomise
from small_networks import image_of, small_plans

from resnet_factory.network.builder import assemble_network
from resnet_factory.network.runtimes.export import export_program

pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
names = fnmatch.filter(small_plans(), pattern)
refused = 0
for name in names:
    plan = small_plans()[name]
    network = assemble_network(plan).eval()
    randomise(network)
    for to, ending in (("onnx", ".onnx"), ("openvino", ".xml")):
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            try:
                done = export_program(network, Path(folder) / f"n{ending}", to, image=image_of(plan))
            except rf.ConfigError as error:
                refused += 1
                print(f"{name} {to} REFUSED {error}", flush=True)
            else:
                print(f"{name} {to} {done.dynamic} {done.difference:.1e}", flush=True)
print(f"{len(names)} networks, {refused} exports refused, torch {torch.__version__}")
raise SystemExit(bool(refused))
