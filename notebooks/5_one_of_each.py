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
# # One of each
#
# Cameras take many pictures of one thing. Such near-duplicates waste labels, and they flatter a
# model when one of them is in training and another in the test. This notebook finds them, chooses
# with your eyes what "nearly the same" means, and shows what both are worth.
#
# **Your own images.** Change the lines of the next cell that say so. The names of scenes, taken
# from the folders that images lie in, serve as labels in the last two sections.

# %%
from dinov2_sklearn import list_images, make_demo_images

folder = "../build/demo-images"  # yours: "photos/"
make_demo_images(folder)  # yours: leave this line out
model = "offline"  # yours: "facebook/dinov2-base"
cache = "../build/embedding-cache"  # shared with the other notebooks

paths = list_images(folder)

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    NearDuplicates,
    NearDuplicatesDisplay,
    leaks,
    similarity_report,
)

plt.rcParams.update({"figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False})
embeddings = DINOv2Transformer(model, embedding_cache=cache).fit_transform(paths)
scenes = np.array([Path(path).parent.name for path in paths])

# %% [markdown]
# ## How alike are the images?
#
# For each image, how similar is the nearest other one? And what would be one group at some
# thresholds? If copies lie far from all other pairs, the report suggests a threshold in the gap.

# %%
report = similarity_report(embeddings, thresholds=(0.95, 0.97, 0.98, 0.99), lowest=0.9)
print(report)

# %% [markdown]
# ## Choose the threshold by looking
#
# Numbers do not say what your labels are about, so look at pairs. Search once at a low threshold;
# `rethreshold` is stricter without searching again, and knows pairs on both of its sides.

# %%
searched = NearDuplicates(0.9).fit(embeddings)
for min_similarity in (0.995, 0.98):
    display = NearDuplicatesDisplay.from_estimator(
        searched.rethreshold(min_similarity), paths, n_pairs=3
    )
    display.plot("pairs")
    display.ax_.set_title(f"around {min_similarity}", loc="left", fontweight="bold")
    plt.show()

# %% [markdown]
# At 0.98 the two images of a pair show much the same. Let that be the threshold here; for your
# images it may be another. The largest groups, the kept image first and then those least like it:

# %%
duplicates = searched.rethreshold(0.98)
print(f"{len(paths)} images in {duplicates.n_groups_} groups")
display = NearDuplicatesDisplay.from_estimator(duplicates, paths, n_groups=4)
display.plot("groups")
plt.show()

# %% [markdown]
# ## What a selection gains
#
# How many scenes do 24 picks show? Random picks fall where the many pictures are. From one image
# of each group they fall on more scenes. A diverse selection keeps away from what it has already,
# and has nothing to gain where it finds all scenes anyway.

# %%
n_picks, one_of_each = 24, np.flatnonzero(duplicates.support_)
for strategy in ("random", "hybrid"):
    for name, rows in (("all images", np.arange(len(paths))), ("one of each", one_of_each)):
        counts = []
        for seed in range(10):
            sampler = DiversitySampler(n_picks, strategy=strategy, random_state=seed)
            picks = rows[sampler.fit(embeddings[rows]).selected_indices_]
            counts.append(len(set(scenes[picks])))
        print(f"{strategy:>7}, {name:<11}: {np.mean(counts):4.1f} of {len(set(scenes))} scenes")

# %% [markdown]
# ## A leak, and the accuracy that it flattered
#
# Split the images at random, and most of the test has a near-duplicate in training. Split them by
# group, and nothing has.

# %%
groups = duplicates.labels_
splits = {
    "at random": list(KFold(4, shuffle=True, random_state=0).split(embeddings)),
    "by group": list(GroupKFold(4).split(embeddings, groups=groups)),
}
for name, folds in splits.items():
    train, test = folds[0]
    print(f"{name}: {leaks(embeddings[train], embeddings[test], 0.98)}\n")

# %% [markdown]
# What is that worth to a model? Take labels that no model can know of a new image: toss a coin for
# each group. The nearest labelled image then seems to tell heads from tails, as long as the split
# is random. Split by group, what it knows is what can be known: nothing.

# %%
coins = np.random.default_rng(0).integers(2, size=(10, duplicates.n_groups_))
classifier = KNeighborsClassifier(1)
accuracy = {
    name: np.mean(
        [cross_val_score(classifier, embeddings, coin[groups], cv=folds) for coin in coins]
    )
    for name, folds in splits.items()
}

figure, ax = plt.subplots(figsize=(6, 2.2), layout="constrained")
bars = ax.barh([*accuracy], [*accuracy.values()], color=["#7F7F7F", "#D55E00"])
ax.bar_label(bars, [f" {value:.0%}" for value in accuracy.values()])
ax.axvline(0.5, color="black", linewidth=1, linestyle=":")
ax.invert_yaxis()
ax.set_xlim(0, 1.1)
ax.set_xlabel("accuracy of the nearest neighbour; dotted: chance")
plt.show()

# %% [markdown]
# Real labels lie between: some of the accuracy is knowledge, some is memory, and only a split by
# group tells them apart. Keep `duplicates.labels_` with your labels, and give it as `groups` to
# whatever splits them. The guide says more, on its page *One of each*.
