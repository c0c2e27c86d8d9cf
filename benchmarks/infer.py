"""A clip through the network: as published, step by step to what predict.py does, and in onnxruntime, also in int8.

    python benchmarks/infer.py [--repeats 5] [--checkpoint FILE]

ResNeXt50 and LSTM(2048), one clip of 20 frames at 112 px. int8 is onnxruntime's dynamic and static quantisation of the
exported file; static is calibrated on half of some drawn clips, and the difference is measured on the others. Weights
are random unless `--checkpoint` is given: then the difference says something about that detector.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import matrix_peak, parser, ratios, report, shown, take_turns
from torch import Tensor

from dfd.base.types import Label
from dfd.models.classifier import build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_model
from dfd.scoring.runtimes.exporting import _random_clips, checked_onnx
from dfd.scoring.runtimes.runtime import OnnxRuntime, TorchRuntime

GFLOP_PER_FRAME, GFLOP_PER_LSTM_FRAME = 2.22, 0.067


def quantised(content: bytes, clips: list[Tensor], folder: Path, *, static: bool) -> Callable[[Tensor], list[float]]:
    """The exported detector in int8, as a function from clips to probabilities."""
    import onnxruntime
    from onnxruntime import quantization as q

    source, prepared, target = (folder / name for name in ("f32.onnx", "prepared.onnx", f"int8-{static}.onnx"))
    source.write_bytes(content)
    q.shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
    if static:

        class Reader(q.CalibrationDataReader):
            def __init__(self) -> None:
                self.left = [{"frames": clip.numpy()} for clip in clips]

            def get_next(self) -> Any:
                return self.left.pop() if self.left else None

        kinds = ["Conv", "Gemm", "MatMul"]
        q.quantize_static(prepared, target, Reader(), per_channel=True, op_types_to_quantize=kinds)
    else:
        q.quantize_dynamic(prepared, target)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])

    def run(frames_BTCHW: Tensor) -> list[float]:
        probs: list[float] = session.run(None, {"frames": frames_BTCHW.numpy()})[0][:, Label.FAKE].tolist()
        return probs

    return run


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--checkpoint", type=Path)
    options.add_argument("--frames", type=int, default=20)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats, arguments.frames = 1, 3
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.checkpoint:
        model, card = load_model(arguments.checkpoint)
    else:
        backbone: dict[str, Any] = {"_target_": "dfd.models.backbones.resnext50", "pretrained": False}
        if arguments.quick:
            backbone |= {"_target_": "dfd.models.backbones.timm", "name": "test_resnet"}
        hidden = 16 if arguments.quick else 2048
        head = {"_target_": "dfd.models.temporal.lstm", "hidden_features": hidden}
        model = build_model({"backbone": backbone, "temporal": head}).eval()
        card = DetectorCard(model=model.config, image_size=112, clip_len=arguments.frames)
    model.eval()
    drawing = torch.Generator().manual_seed(1)
    clips = [_random_clips(1, arguments.frames, card.image_size, drawing) for _ in range(4 if arguments.quick else 16)]
    tuned, compared = clips[::2], clips[1::2]
    began = time.perf_counter()
    content, _ = checked_onnx(model, card)
    export_seconds = time.perf_counter() - began

    published = build_model(model.config).eval()
    published.load_state_dict(model.state_dict())
    published.backbone.to(memory_format=torch.contiguous_format)
    tuned_one = build_model(model.config).eval()
    tuned_one.load_state_dict(model.state_dict())
    networks = {"channels last": model, "tuned (predict.py)": tuned_one}
    runtimes = {name: TorchRuntime(network, card, "cpu") for name, network in networks.items()}
    runtimes["tuned (predict.py)"].tune()
    session = OnnxRuntime(content, card, num_threads=arguments.threads)

    def plain(clip: Tensor) -> list[float]:
        images_NCHW = (clip.flatten(0, 1).float() / 255 - published.mean) / published.std
        logits_BK = published.head(published.backbone(images_NCHW)[None])
        probs: list[float] = logits_BK.softmax(dim=-1)[:, Label.FAKE].tolist()
        return probs

    def plain_inference(clip: Tensor) -> list[float]:
        with torch.inference_mode():
            return plain(clip)

    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Callable[[Tensor], list[float]]] = {
            "published, gradients on": plain,
            "inference mode": plain_inference,
            **{name: runtime.prob_fake for name, runtime in runtimes.items()},
            "onnxruntime": session.prob_fake,
            "onnxruntime, int8 dynamic": quantised(content, tuned, Path(folder), static=False),
            "onnxruntime, int8 static": quantised(content, tuned, Path(folder), static=True),
        }
        bound = {name: (lambda way=way: way(clips[0])) for name, way in ways.items()}  # type: ignore[misc]
        seconds = take_turns(bound, arguments.repeats, wall=arguments.threads > 1)
        expected = np.concatenate([ways["inference mode"](clip) for clip in compared])
        differences = {
            name: float(np.abs(np.concatenate([way(clip) for clip in compared]) - expected).max())
            for name, way in ways.items()
        }
    peak = matrix_peak(side=256 if arguments.quick else 2048)
    work = arguments.frames * (GFLOP_PER_FRAME + GFLOP_PER_LSTM_FRAME)
    first = seconds["published, gradients on"]
    rows = [
        [
            name,
            shown(taken, 3),
            shown(ratios(first, taken)),
            "–" if arguments.quick else f"{work / np.median(taken) / peak:.0%}",
            f"{differences[name]:.1e}",
        ]
        for name, taken in seconds.items()
    ]
    columns = ["way", "seconds", "times published", "share of the matrix peak", "largest difference of a probability"]
    values = {"seconds": seconds, "differences": differences}
    title = f"One clip of {arguments.frames} frames through the network"
    facts = {"matrix_peak_gflops": round(peak), "seconds_to_export_and_check_onnx": round(export_seconds, 1)}
    weights = arguments.checkpoint.name if arguments.checkpoint else "random"
    report(arguments, "infer", title, columns, rows, values, **facts, weights=weights)


if __name__ == "__main__":
    main()
