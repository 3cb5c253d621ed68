"""`trg-headpose`: bad input gives one line, status 2, nothing half-written; every command explains itself."""

import contextlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_files import tree

from trg_ros import cli, commands

BAD = {
    "no such file": ["run", "good/missing.jpg"],
    "no such folder": ["run", "missing/"],
    "empty file": ["run", "bad/empty.jpg"],
    "truncated JPEG": ["run", "bad/half.jpg"],
    "truncated PNG": ["run", "bad/half.png"],
    "text as a photo": ["run", "bad/text.jpg"],
    "text": ["run", "bad/text.txt"],
    "folder without photos": ["run", "bad/empty"],
    "folder of bad photos": ["run", "bad/hopeless"],
    "lines and a folder": ["run", "good/photo.jpg", "--json", "--out", "results/new"],
    "no such webcam": ["run", "99"],
    "an address": ["run", "rtsp://localhost/x"],
    "empty name": ["run", ""],
    "empty output": ["run", "good/photo.jpg", "--out", ""],
    "blank output": ["run", "good/photo.jpg", "--out", "  "],
    "empty option": ["run", "good/photo.jpg", "--camera="],
    "empty folder of heads": ["render", "--face-model", "model.npz", "--out", ""],
    "a name that isn't UTF-8": ["run", "good/\udce9.jpg"],
    "an output that isn't UTF-8": ["run", "good/photo.jpg", "--out", "results/\udce9"],
    "home of nobody": ["run", "~nobody_of_that_name/photo.jpg"],
    "webcam of a huge number": ["run", "9" * 30],
    "no such video device": ["run", "/dev/video99"],
    "a photo like a thread": ["run", "bad/thread.png"],
    "a camera file that is a folder": ["run", "good/photo.jpg", "--camera", "good"],
    "field of view that is infinite": ["run", "good/photo.jpg", "--fov", "inf"],
    "half a frame": ["run", "good/video.avi", "--max-frames", "0.5"],
    "no threads": ["run", "good/photo.jpg", "--threads", "0"],
    "negative seed": ["render", "--face-model", "model.npz", "--out", "results/new", "--seed", "-1"],
    "no heads": ["render", "--face-model", "model.npz", "--out", "results/new", "-n", "0"],
    "pictures of nothing": ["render", "--face-model", "model.npz", "--out", "results/new", "--side", "8"],
    "endless people": ["evaluate", "--dataset", "sequences", "--seconds", "nan"],
    "every none-th sample": ["evaluate", "--dataset", "biwi", "--every", "0"],
    "looking at nothing": ["check-data", "biwi", "good", "--look-at", "0"],
    "no steps": ["ablate", "--data", "synthetic", "--steps", "0"],
    "images at a negative rate": ["benchmark", "--out", "results/new", "--ros", "-5"],
    "images at no rate": ["benchmark", "--out", "results/new", "--ros", "nan"],
    "too many faces": ["benchmark", "--out", "results/new", "--faces", "257"],
    "field of view of 0": ["run", "good/photo.jpg", "--fov", "0"],
    "field of view of 180": ["run", "good/photo.jpg", "--fov", "180"],
    "field of view NaN": ["run", "good/photo.jpg", "--fov", "nan"],
    "field of view of words": ["run", "good/photo.jpg", "--fov", "wide"],
    "both intrinsics": ["run", "good/photo.jpg", "--fov", "60", "--camera", "good/camera.yaml"],
    "no such camera": ["run", "good/photo.jpg", "--camera", "missing.yaml"],
    "K of zeros": ["run", "good/photo.jpg", "--camera", "bad/zeros.yaml"],
    "K with NaN": ["run", "good/photo.jpg", "--camera", "bad/nan.yaml"],
    "negative focal length": ["run", "good/photo.jpg", "--camera", "bad/negative.yaml"],
    "camera of another size": ["run", "good/photo.jpg", "--camera", "bad/other_size.yaml"],
    "broken YAML": ["run", "good/photo.jpg", "--camera", "bad/broken.yaml"],
    "no frames": ["run", "good/video.avi", "--max-frames", "0"],
    "tiny detection": ["run", "good/photo.jpg", "--detection-size", "3"],
    "output is a file": ["run", "good/photo.jpg", "--out", "good/photo.png"],
    "output below a file": ["run", "good/photo.jpg", "--out", "good/photo.png/below"],
    "two forms of one answer": ["info", "--json", "--markdown"],
    "unknown command": ["fly"],
    "no command": [],
    "no input": ["run"],
    "unknown pose source": ["run", "good/photo.jpg", "--pose-source", "guess"],
    "unknown option": ["run", "good/photo.jpg", "--fast"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_bad_input_gives_one_line_status_2_and_leaves_nothing(arguments, folder, with_a_head, capfd):
    if arguments and arguments[0] == "run" and "--out" not in arguments:
        arguments = [*arguments, "--out", "results/new"]
    before = tree(folder)
    status = cli.main(arguments)
    out, err = capfd.readouterr()
    complaints = err.splitlines()
    assert status == 2
    assert out == ""
    assert len(complaints) == 1 and complaints[0].startswith("trg-headpose"), err
    assert "error: " in complaints[0]
    assert tree(folder) == before


NEEDING_THE_NETWORK = {
    "no such checkpoint": ["--checkpoint", "missing.safetensors"],
    "not a checkpoint": ["--checkpoint", "good/photo.jpg"],
    "checkpoint without contents": ["--checkpoint", "bad/weights.safetensors"],
    "checkpoint is a folder": ["--checkpoint", "good"],
    "checkpoint of nobody": ["--checkpoint", "~nobody_of_that_name/weights.safetensors"],
    "camera of nobody": ["--camera", "~nobody_of_that_name/camera.yaml"],
    "detector of nobody": ["--detector-model", "~nobody_of_that_name/yunet.onnx"],
    "unknown detector": ["--detector", "eyes"],
    "yunet without a file": ["--detector", "yunet"],
    "unknown back end": ["--backend", "fastest"],
    "unknown device": ["--device", "abacus"],
    "a library that is none": ["--detector", "libfacedetection", "--detector-model", "good/photo.jpg"],
}


@pytest.mark.parametrize("arguments", NEEDING_THE_NETWORK.values(), ids=NEEDING_THE_NETWORK)
def test_bad_network_or_detector(arguments, folder, capfd):
    before = tree(folder)
    intrinsics = [] if "--camera" in arguments else ["--fov", "60"]
    assert cli.main(["run", "good/photo.jpg", *intrinsics, "--out", "results/new", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("trg-headpose: error: ")
    assert tree(folder) == before


def run_python(*arguments):
    repository = Path(__file__).parents[1]
    return subprocess.run(
        [sys.executable, *arguments], cwd=repository, capture_output=True, text=True, timeout=60
    )


def run_program(*arguments):
    return run_python("-m", "trg_ros", *arguments)


def test_help_lists_the_commands_and_does_not_import_torch():
    done = run_program("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert all(f"    {name} " in done.stdout or f"    {name}\n" in done.stdout for name in cli._COMMANDS)
    check = (
        "import sys; from trg_ros import cli\n"
        "for name in cli._COMMANDS: cli._parser([name])\n"
        "print('torch' in sys.modules)"
    )
    assert run_python("-c", check).stdout == "False\n"


def test_what_the_weights_are_is_told_without_torch():
    check = "import sys; from trg_ros import cli; cli.main(['info']); print('torch' in sys.modules)"
    done = run_python("-c", check)
    assert done.stdout.endswith("\nFalse\n") and " million parameters" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) < 40, "a page at most"


def test_version_and_module_entry_point():
    done = run_program("--version")
    assert done.returncode == 0 and done.stdout.startswith("trg-headpose ")
    done = run_program("run", "missing.jpg")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "trg-headpose: error: no such file or folder: 'missing.jpg'\n"


def test_ffmpeg_says_nothing_beside_our_line(folder):
    done = run_program("run", str(folder / "bad" / "zeros.mp4"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "neither a photo nor a video" in done.stderr


def full_disk():
    return Path("/dev/full").open("w")


def reader_that_left():
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


@pytest.mark.parametrize("length", [10, 100_000], ids=["short", "long"])
@pytest.mark.parametrize(
    ("output", "status", "complaint"),
    [
        (full_disk, 2, "trg-headpose: error: can't write the output: No space left on device\n"),
        (reader_that_left, 0, ""),
        (contextlib.nullcontext, 0, ""),  # None: the shell's `>&-`
    ],
    ids=["full disk", "reader that left", "closed"],
)
def test_an_output_that_takes_nothing(output, status, complaint, length, monkeypatch, capsys):
    command = SimpleNamespace(add_arguments=lambda parser: None, main=lambda args: print("x" * length) or 0)
    monkeypatch.setattr(cli, "import_module", lambda name: command)
    with output() as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert cli.main(["info"]) == status
    assert capsys.readouterr().err == complaint


def test_a_path_that_the_system_refuses(folder, monkeypatch, capsys):
    command = SimpleNamespace(
        add_arguments=lambda parser: None, main=lambda args: Path("good/photo.png/below").mkdir()
    )
    monkeypatch.setattr(cli, "import_module", lambda name: command)
    assert cli.main(["info"]) == 2
    assert capsys.readouterr().err == (
        "trg-headpose: error: can't use 'good/photo.png/below': Not a directory\n"
    )
    command.main = lambda args: os.read(9999, 1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        cli.main(["info"])


def test_the_table_lists_every_command():
    modules = {module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__)}
    assert modules == set(cli._COMMANDS)


@pytest.mark.parametrize("name", cli._COMMANDS)
def test_every_command_explains_itself(name, capsys):
    assert cli.main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: trg-headpose {name} ")
