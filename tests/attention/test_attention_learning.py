"""What the rows are good for: a linear model tells scenes apart by where the model looks."""

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dinov2_sklearn import PatchAttentionInspector, make_demo_images

SCENES = ("coins", "hubble", "page", "retina", "moon", "brick")


def test_linear_model_on_attention_rows(tmp_path):
    every = make_demo_images(tmp_path)
    scene = np.array([Path(path).parent.name for path in every])
    paths, y = (
        np.concatenate([values[scene == name][:6] for name in SCENES]) for values in (every, scene)
    )
    model = make_pipeline(
        PatchAttentionInspector("offline", image_size=112),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    )
    # By chance it would be right once in six times.
    assert model.fit(paths[::2], y[::2]).score(paths[1::2], y[1::2]) > 0.5
