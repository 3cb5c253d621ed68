"""`trg-headpose render`: labelled heads as a data set, and a contact sheet to look at."""

import argparse
from pathlib import Path

from trg_ros.arguments import at_least


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--face-model", required=True, metavar="FILE", help="packed ICT-FaceKit model (.npz)")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder of the data set; existing shards are kept"
    )
    parser.add_argument(
        "-n", type=at_least(1), default=1000, metavar="N", help="number of heads (default 1000)"
    )
    parser.add_argument("--seed", type=at_least(0), default=1, help="of the whole set (default 1)")
    parser.add_argument(
        "--first", type=at_least(0), default=0, metavar="I", help="number of the first head (default 0)"
    )
    parser.add_argument(
        "--side",
        type=at_least(32),
        default=208,
        metavar="PX",
        help="of the stored pictures, 1.7 times a network's crops or more (default 208: for 96 and 112 px)",
    )
    parser.add_argument(
        "--device", default="cpu", help="what paints: cpu, cuda, cuda:N or auto (%(default)s)"
    )
    parser.add_argument(
        "--processes", type=at_least(1), default=1, metavar="P", help="processes that render (default 1)"
    )


def main(args: argparse.Namespace) -> int:
    from trg_ros.synthetic.generate import contact_sheet, generate
    from trg_ros.synthetic.render import RenderSettings

    out, settings = Path(args.out), RenderSettings(crop_side=args.side)
    generate(args.face_model, out, args.seed, args.n, args.first, settings, args.device, args.processes)
    print(contact_sheet(out))
    return 0
