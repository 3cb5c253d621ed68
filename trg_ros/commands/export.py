"""`trg-headpose export`: a checkpoint's network as ONNX, for other runtimes."""

from __future__ import annotations

import argparse

from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--onnx", metavar="FILE", required=True, help="the file to write")
    parser.add_argument("--checkpoint", metavar="FILE", help="a .safetensors checkpoint (default: packaged)")
    parser.add_argument(
        "--sampled-only",
        action="store_true",
        help="only the landmarks that TRG samples and the 68: the same pose, fewer numbers",
    )


def main(args: argparse.Namespace) -> int:
    from trg_ros.onnx_export import export_onnx  # needs ONNX's packages

    checkpoint = load_checkpoint(args.checkpoint or default_checkpoint_path())
    path = export_onnx(checkpoint, args.onnx, dense=not args.sampled_only)
    print(f"{path}: {checkpoint.info.name}, {path.stat().st_size / 1e6:.1f} MB")
    return 0
