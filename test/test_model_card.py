"""Model cards say what the checkpoint's metadata says."""

from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint
from trg_ros.cli import main
from trg_ros.model_card import model_card


def _errors(geodesic: float) -> dict:
    names = ("geodesic_mean_deg", "geodesic_median_deg", "mae_yaw_deg", "mae_pitch_deg", "mae_roll_deg")
    metres = {"mae_tx_m": 0.01, "mae_ty_m": 0.01, "tz_relative_median": 0.03, "landmark_mean_m": 0.004}
    return {**dict.fromkeys(names, geodesic), **metres}


def test_groups_that_are_far_worse_are_named() -> None:
    path = default_checkpoint_path()
    checkpoint = load_checkpoint(path)
    groups = {
        name: {
            "samples": 40,
            "geodesic_mean_deg": error,
            "tz_relative_median": 0.03,
            "landmark_mean_m": 0.004,
        }
        for name, error in (("beard", 5.0), ("yaw 75-90 deg", 7.0))
    }
    settled = {**_errors(5.0), "condition": "second looks", "yaw_below_60": _errors(4.0), "groups": groups}
    measured = {**_errors(6.0), "samples": 1234, "yaw_below_60": _errors(5.5), "groups": groups}
    checkpoint.info.measured_errors.clear()
    checkpoint.info.measured_errors.update({**measured, "settled": settled})
    card = model_card(path, checkpoint)
    assert "1,234" in card and "| second looks | all | 5.00 |" in card
    assert "Above 1.3 times the mean rotation error: yaw 75-90 deg." in card
    assert "| beard | 40 | 5.00 | 3.00 | 4.00 | 1.00 |" in card


def test_a_checkpoint_without_measurements_has_a_card_too(capsys) -> None:
    path = default_checkpoint_path()
    checkpoint = load_checkpoint(path)
    checkpoint.info.measured_errors.clear()
    assert "### Errors" not in model_card(path, checkpoint)
    assert main(["info", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith(f"## {checkpoint.info.name} ")
