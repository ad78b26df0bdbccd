import pytest
import torch

from pd.training.precision import resolve

CPU = torch.device("cpu")


def test_what_is_asked_for_is_taken() -> None:
    assert (resolve("fp32", CPU), resolve("bf16", CPU)) == ("fp32", "bf16")


@pytest.mark.parametrize(("units", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_auto_asks_the_machine(units: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pd.training.precision.multiplies_bfloat16", lambda: units)
    assert resolve("auto", CPU) == chosen
