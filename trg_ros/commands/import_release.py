"""`trg-headpose import-release`: the paper's weights as a trg_ros checkpoint."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("state_dict", metavar="STATE_DICT", help="the release's state_dict.bin")
    parser.add_argument("--assets", required=True, metavar="DIR", help="folder with the release's side files")
    parser.add_argument("--out", required=True, metavar="FILE", help="the .safetensors file to write")


def main(args: argparse.Namespace) -> int:
    from trg_ros.release_import import import_release  # needs torch

    path = import_release(args.state_dict, args.assets, args.out)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
