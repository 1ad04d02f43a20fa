# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Three rounds
#
# Label a few images, let the labels say which to label next, and look at labels that are probably
# wrong. This notebook plays three such rounds, where the names of the scenes stand in for a person
# who labels, and counts what each round cost and brought.
#
# **Your own images.** Change the lines of the next cell that say so. Labels are the names of the
# folders that images lie in, or what `load_labels` reads from your file.

# %%
from dinov2_sklearn import list_images, make_demo_images

folder = "../build/demo-images"  # yours: "photos/"
make_demo_images(folder)  # yours: leave this line out
model = "offline"  # yours: "facebook/dinov2-base"
cache = "../build/embedding-cache"  # shared with the other notebooks

paths = list_images(folder)

# %%
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    contact_sheet,
    label_quality,
    label_report,
    label_uncertainty,
)

warnings.filterwarnings("ignore", "The number of unique classes")  # few labels
plt.rcParams.update({"figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False})
embeddings = DINOv2Transformer(model, embedding_cache=cache).fit_transform(paths)
truth = np.array([Path(path).parent.name for path in paths])
n_classes = len(set(truth))
print(f"{len(paths)} images, {n_classes} classes")

# %% [markdown]
# ## Three rounds
#
# The first round knows no labels: coverage picks images that stand for most others. From the second
# on, what is covered weighs as much as a classifier is unsure of it. Beside it: random picks.


# %%
def accuracy(labelled):
    rest = np.setdiff1d(np.arange(len(paths)), labelled)
    classifier = LogisticRegression(C=100, max_iter=1000)
    classifier.fit(embeddings[labelled], truth[labelled])
    return classifier.score(embeddings[rest], truth[rest])


n_each = n_classes // 2
y = np.full(len(paths), None)
labelled = np.empty(0, dtype=int)
curve = []
for number in (1, 2, 3):
    weights = None if number == 1 else label_uncertainty(embeddings, y)
    sampler = DiversitySampler(n_each, strategy="coverage")
    picks = sampler.select(embeddings, preselected=labelled, weights=weights)
    y[picks] = truth[picks]  # yours: by eye
    labelled = np.concatenate([labelled, picks])
    curve.append(accuracy(labelled))
    seen = len(set(y[labelled]))
    print(f"round {number}: {len(labelled)} labels, {seen} classes, accuracy {curve[-1]:.3f}")

sizes = n_each * np.arange(1, 4)
at_random = [
    [accuracy(np.random.default_rng(seed).permutation(len(paths))[:size]) for size in sizes]
    for seed in range(10)
]

figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(sizes, curve, "o-", color="#D55E00", label="coverage, then with labels")
ax.errorbar(
    sizes, np.mean(at_random, axis=0), np.std(at_random, axis=0), color="#7F7F7F", label="random"
)
ax.set(xlabel="labels", ylabel="accuracy on the others", xticks=sizes)
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## A wrong label, found
#
# Now all images have a label, and somebody has mixed up five of them. Neighbours vote on each
# label; the image itself and copies of it have no vote.

# %%
draw = np.random.default_rng(0)
wrong = draw.choice(len(paths), 5, replace=False)
given = truth.copy()
given[wrong] = draw.permutation(truth)[:5]
wrong = np.flatnonzero(given != truth)
quality, suggested = label_quality(embeddings, given)
suspects = np.argsort(quality)[: len(wrong)]
for row in suspects:
    mark = "wrong" if row in wrong else "right"
    print(f"{quality[row]:.2f}  {given[row]:15} rather {suggested[row]:15} {mark} in truth")
contact_sheet(paths[suspects], title="The most suspect labels")

# %% [markdown]
# ## When do more labels stop paying?
#
# The report cross-validates, with copies on one side: its accuracy is that on images that are no
# copies of labelled ones, and lower than on this folder, which is full of them. Classes that are
# copies of one thing cannot be tested so, and are left out. Where the last doubling of the labels
# brought next to nothing, the next one will bring no more.

# %%
report = label_report(embeddings, truth, min_similarity=0.98)
print(report)
report.learning_curve().plot(score_type="test")
plt.show()

# %% [markdown]
# The guide says more, on its page *Rounds of labels*.
