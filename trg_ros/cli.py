"""`trg-headpose`: one subcommand per module of `trg_ros.commands`.

A command's module has `add_arguments(parser)` and `main(args) -> int`. It is imported only when it is
the one that was asked for, so that `--help` needs neither torch nor a second of patience.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from trg_ros import __version__
from trg_ros.errors import TrgRosError

_PROGRAM = "trg-headpose"
_USER_ERROR = 2
_INTERRUPTED = 130
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

_COMMANDS = {
    "run": "head poses of a photo, a folder of photos, a video or a webcam",
    "info": "what a checkpoint is, how it was made, what it may be used for, how wrong it is",
    "import-release": "turn the paper's released weights into a checkpoint",
    "check-data": "check a downloaded data set and draw a sheet of its labels",
    "render": "render labelled heads for training",
    "train": "train a network, or go on training it",
    "calibrate": "make a checkpoint ready for integers, and add calibrated covariances",
    "evaluate": "measure a checkpoint on a data set",
    "ablate": "train the paper's variants and compare them",
    "benchmark": "measure the speed on this machine",
    "export": "write a checkpoint's network as ONNX, for any number of faces",
}


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of repeating the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USER_ERROR, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status: 0, 2 for anything the user can mend, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # FFmpeg's remarks about damaged files would bury the one line that names the file.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Idle OpenMP threads that spin make torch several times slower beside other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        try:
            parser = _parser(arguments)
            _refuse_names_without_sense(parser, arguments)
            args = parser.parse_args(arguments)
        except SystemExit as leaving:  # argparse has said why, or helped
            return int(leaving.code or 0)
        status = int(import_module(_module(args.command)).main(args))
        if sys.stdout is not None:  # the shell's `>&-`
            sys.stdout.flush()
        return status
    except TrgRosError as error:
        print(f"{_PROGRAM}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return _USER_ERROR
    except ModuleNotFoundError as error:
        package = (error.name or "trg_ros").partition(".")[0]
        if package == "trg_ros":
            raise
        advice = "install it, or the extra [train] with all that training and evaluation need"
        print(f"{_PROGRAM}: error: the Python package '{package}' is missing; {advice}", file=sys.stderr)
        return _USER_ERROR
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # `trg-headpose info | head` closes our output early
        _drop_output()
        return 0
    except OSError as error:
        return _refused(error)


def _refused(error: OSError) -> int:
    """A file or a disk that the system refuses is for the user to mend. :raises OSError: anything else."""
    if error.filename is not None:
        refusal = f"can't use '{error.filename}'"
    elif error.errno in _NO_SPACE:
        _drop_output()
        refusal = "can't write the output"
    else:
        raise error
    print(f"{_PROGRAM}: error: {refusal}: {error.strerror}", file=sys.stderr)
    return _USER_ERROR


def _drop_output() -> None:
    """Python says nothing at exit of what it couldn't write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with the arguments of that command only which is going to run."""
    parser = _OneLineParser(
        prog=_PROGRAM, description="Metric 6DoF head pose from one RGB camera, with TRG (ECCV 2024)."
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked_for = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == asked_for:
            import_module(_module(name)).add_arguments(command)
    return parser


def _refuse_names_without_sense(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """An empty path would be the working folder, and OpenCV crashes over a name that isn't UTF-8."""
    for before, argument in zip([_PROGRAM, *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=")
        if option.startswith("--") and equals:
            before, argument = option, value
        if not argument.strip():
            parser.error(f"nothing is given after '{before}': an empty shell variable?")
        try:
            argument.encode()
        except UnicodeEncodeError:
            parser.error(f"{argument!a} is not UTF-8; give the file another name")


def _module(command: str) -> str:
    return f"trg_ros.commands.{command.replace('-', '_')}"
