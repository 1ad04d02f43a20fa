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
# # Tune the selection
#
# `DiversitySampler` has settings: a strategy, a number of clusters, a share of far picks. Which
# suit your images? You cannot ask a classifier, because nothing is labelled yet.
#
# But you can ask whether the picks stand for images that they were not chosen from. That is what
# the sampler's score measures, and with a score, scikit-learn's `GridSearchCV` does the rest.
#
# **Your own images.** Change the lines of the next cell that say so. Scene names, taken from the
# folders that images lie in, are used in one section only, which says so.

# %%
from dinov2_sklearn import list_images, make_demo_images

folder = "../build/demo-images"  # yours: "photos/"
make_demo_images(folder)  # yours: leave this line out
model = "offline"  # yours: "facebook/dinov2-base"
cache = "../build/embedding-cache"  # shared with the other notebooks

paths = list_images(folder)
n_picks = 24

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ParameterGrid,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import Pipeline

from dinov2_sklearn import DINOv2Transformer, DiversitySampler, EmbeddingCache, UMAPProjector

# Safe for all kinds of colour vision (Okabe and Ito).
COLORS = {"random": "#7F7F7F", "cluster": "#0072B2", "fps": "#009E73", "hybrid": "#D55E00"}
plt.rcParams.update({"figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# Embedding is the slow step, so it is done once. The cache keeps each image's embedding on disk,
# and everything below takes it from there.

# %%
embed = DINOv2Transformer(model, embedding_cache=cache)
embeddings = embed.fit_transform(paths)
print(f"{embeddings.shape[0]} images, {embeddings.shape[1]} numbers for each")

# %% [markdown]
# ## What the score means
#
# Hold a quarter of the images back, pick from the rest, and go with each image that was held back
# to the pick that is most like it. If that pick is close, it can stand for the image. The score is
# minus the mean of these distances, so that larger is better, as everywhere in scikit-learn.
#
# The picture shows the same quarter twice, on a map of all images. Each line leads from an image
# that was held back to its nearest pick, and it is dark where the two are unlike each other.

# %%
points = UMAPProjector(n_neighbors=100, min_dist=0.9).fit(embeddings).embedding_
rows, held_back = train_test_split(np.arange(len(paths)), test_size=0.25, random_state=0)

figure, axes = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained")
drawn = []
for ax, strategy in zip(axes, ["random", "hybrid"], strict=True):
    sampler = DiversitySampler(n_picks, strategy=strategy).fit(embeddings[rows])
    picks = rows[sampler.selected_indices_]
    nearest = picks[sampler.predict(embeddings[held_back])]

    lines = LineCollection(
        np.stack([points[held_back], points[nearest]], axis=1),
        array=sampler.score_samples(embeddings[held_back]),
        cmap="magma_r",
        linewidths=1.4,
    )
    drawn.append(ax.add_collection(lines))
    ax.scatter(*points[rows].T, s=8, color="0.88", label="images")
    ax.scatter(*points[held_back].T, s=14, color="0.45", label="held back")
    ax.scatter(*points[picks].T, s=46, color=COLORS[strategy], edgecolor="black", label="picks")
    score = sampler.score(embeddings[held_back])
    ax.set_title(f'"{strategy}": score {score:.2f}', loc="left", fontweight="bold")
    ax.set_aspect("equal")
    ax.axis("off")
    ax.legend(frameon=False, loc="upper left")

largest = max(lines.get_array().max() for lines in drawn)
for lines in drawn:
    lines.set_clim(0, largest)
figure.colorbar(lines, ax=axes, label="distance to the nearest pick", shrink=0.7)
plt.show()

# %% [markdown]
# ## The search
#
# One quarter is one opinion. `GridSearchCV` repeats it: it cuts the images into five parts, holds
# back each in turn, and does so for every combination of settings.
#
# Two things to know. *Shuffle the parts*, since files in a folder lie beside their likes, and an
# unshuffled part would hold whole scenes that nothing was picked from. And *search over the whole
# pipeline*, from paths to picks, if you like: with the cache no image is embedded a second time.

# %%
pipe = Pipeline([("embed", embed), ("select", DiversitySampler(n_picks))])
grid = [
    {"select__strategy": ["random", "fps"]},
    {"select__strategy": ["cluster"], "select__n_clusters": [None, 5, 10, 20]},
    {
        "select__strategy": ["hybrid"],
        "select__n_clusters": [None, 5, 10, 20],
        "select__fps_ratio": [0.0, 0.1, 0.3, 0.5, 0.7],
    },
]
folds = KFold(5, shuffle=True, random_state=0)

before = EmbeddingCache(cache).info()
search = GridSearchCV(pipe, grid, cv=folds).fit(paths)
after = EmbeddingCache(cache).info()

print(f"{len(ParameterGrid(grid))} settings in {folds.get_n_splits()} parts")
print(f"embeddings taken from the cache: {after.hits - before.hits}")
print(f"images embedded:                 {after.misses - before.misses}")
print(f"best: {search.best_params_}")

# %% [markdown]
# ## The results as a picture
#
# Left, for each strategy its best setting: a dot for each part that was held back, and a bar for
# the mean. Right, what the two settings of `"hybrid"` do.

# %%
results = pd.DataFrame(search.cv_results_)
results.columns = results.columns.str.replace("param_select__", "")
parts = [f"split{i}_test_score" for i in range(folds.get_n_splits())]
best = results.loc[results.groupby("strategy")["mean_test_score"].idxmax()]
best = best.sort_values("mean_test_score")

figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.3), layout="constrained", width_ratios=[5, 6]
)
for height, (_, row) in enumerate(best.iterrows()):
    color = COLORS[row["strategy"]]
    left.scatter(row[parts], [height] * len(parts), color=color, s=45, alpha=0.6, linewidth=0)
    left.plot([row["mean_test_score"]] * 2, [height - 0.25, height + 0.25], color=color, lw=3)
left.set_yticks(range(len(best)), best["strategy"])
left.set(xlabel="score on the part held back (larger is better)", ylim=(-0.6, len(best) - 0.4))
left.set_title("The best of each strategy", loc="left", fontweight="bold")

hybrid = results[results["strategy"] == "hybrid"].astype({"fps_ratio": float})
hybrid = hybrid.assign(n_clusters=hybrid["n_clusters"].fillna(0).astype(int))
table = hybrid.pivot(index="n_clusters", columns="fps_ratio", values="mean_test_score")
image = right.imshow(table, cmap="cividis", aspect="auto")
middle = (table.to_numpy().min() + table.to_numpy().max()) / 2
for (i, j), score in np.ndenumerate(table.to_numpy()):
    color = "white" if score < middle else "black"
    right.text(j, i, f"{score:.2f}", ha="center", va="center", color=color)
right.set_xticks(range(table.shape[1]), table.columns)
right.set_yticks(range(table.shape[0]), ["None", *table.index[1:]])
right.set(xlabel="fps_ratio: share of far picks", ylabel="n_clusters")
right.spines[:].set_visible(False)
right.tick_params(length=0)
right.set_title('The settings of "hybrid"', loc="left", fontweight="bold")
plt.show()

# %% [markdown]
# ## Is the best really better?
#
# Some parts are harder than others, and that blurs the means. So compare within each part: how much
# better is the winner than the settings that `DiversitySampler` has by default?

# %%
winner = results.loc[search.best_index_]
default = results.query("strategy == 'hybrid' and n_clusters.isna() and fps_ratio == 0.3").squeeze()
gains = winner[parts].to_numpy(dtype=float) - default[parts].to_numpy(dtype=float)
print("winner minus default, part by part:", *(f"{gain:+.2f}" for gain in gains))
print(f"mean {gains.mean():+.2f}, standard error {gains.std(ddof=1) / np.sqrt(len(gains)):.2f}")

# %% [markdown]
# A mean that is smaller than twice its standard error says: keep the default. It also tells you not
# to read much into the winner's name: with so many settings, one of them wins by chance. What the
# search tells more surely is what *not* to use.
#
# ## Does the score tell what we want?
#
# A score is a stand-in. What we are after is that no kind of image is missed. The demo images have
# names, so here we can check: each dot is one of the settings of the search, now picking from all
# images, with the number of scenes that it found.

# %%
scenes = np.array([Path(path).parent.name for path in paths], dtype=object)
found = []
for parameters in search.cv_results_["params"]:
    sampler = clone(pipe).set_params(**parameters)["select"].fit(embeddings)
    found.append(len(set(scenes[sampler.selected_indices_])))

figure, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
ax.axhline(len(set(scenes)), color="0.5", linestyle=":")
for strategy, color in COLORS.items():
    chosen = (results["strategy"] == strategy).to_numpy()
    shown = {"s": 70, "alpha": 0.75, "edgecolor": "white", "color": color, "label": strategy}
    ax.scatter(results["mean_test_score"][chosen], np.array(found)[chosen], **shown)
ax.set(xlabel="score (larger is better)", ylabel=f"scenes among {n_picks} picks")
ax.set_title("The score, and what it stands for", loc="left", fontweight="bold")
ax.legend(frameon=False, loc="lower right")
plt.show()
correlation = np.corrcoef(pd.Series(found).rank(), results["mean_test_score"].rank())[0, 1]
print(f"all scenes: {len(set(scenes))}; rank correlation {correlation:.2f}")

# %% [markdown]
# Settings that score well find more scenes. Farthest points (`"fps"`) stand apart: they seek what
# is rare and so miss little, but they take the oddest frame of each kind rather than one that
# stands for the others.
#
# ## How many picks are enough?
#
# The number of picks does not belong in the grid: more picks always come closer. Draw the score
# over the budget instead, and look where the curve flattens. Beyond the bend, further picks only
# repeat what is there.

# %%
budgets = [4, 8, 12, 16, 20, 24, 28, 36, 44, 60]
figure, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
for strategy, color in COLORS.items():
    sampler = DiversitySampler(strategy=strategy)
    scores = validation_curve(
        sampler, embeddings, None, param_name="n_samples", param_range=budgets, cv=folds
    )[1]
    mean, spread = scores.mean(axis=1), scores.std(axis=1)
    ax.plot(budgets, mean, color=color, marker="o", markersize=4, label=strategy)
    ax.fill_between(budgets, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)
ax.set(xlabel="images labelled", ylabel="score (larger is better)")
ax.set_title("The score over the budget", loc="left", fontweight="bold")
ax.legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# ## Where next
#
# - [Nightly batches](3_nightly_batches.ipynb): new images every night, on the same map.
# - [From a folder to a labelling set](1_folder_to_labelling_set.ipynb): the way from the start.
