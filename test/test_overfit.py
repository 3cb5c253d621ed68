"""The overfitting script (docs/reproduce.md, section 8) in a few steps: every format goes all the way."""

import re

import overfit
import pytest
import torch
from dataset_fixtures import write_rendered


@pytest.mark.parametrize("name", overfit.FORMATS)
def test_every_format_goes_through_loader_recipe_and_losses(name, tmp_path, monkeypatch, capsys):
    before = torch.get_num_threads()
    write_rendered(tmp_path / "rendered", 4)
    monkeypatch.setattr(overfit, "COUNT", 4)
    rendered = str(tmp_path / "rendered")
    monkeypatch.setattr(
        "sys.argv", ["overfit.py", name, "--steps", "4", "--distinct", "1", "--heads", rendered]
    )
    overfit.main()
    torch.set_num_threads(before)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["step 1", "step 2", "step 3", "step 4"]
    errors = [[float(number) for number in re.findall(r" (\d+\.\d+)", line.split(": ")[1])] for line in lines]
    assert len(errors[0]) >= 2 and errors[0] != errors[-1], "training changes what is measured"
