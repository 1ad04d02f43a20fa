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
# # From a folder to a labelling set
#
# A camera in the field takes thousands of frames, and most of them show the same patch of grass.
# Whoever labels a random sample of them labels grass all day and never meets the rare animal.
#
# This notebook starts with a folder of images and ends with a short list of those worth labelling
# first. On the way it draws a map of the images, shows what was picked, and compares the picks with
# random draws, so that you need not take anybody's word for it.
#
# **Your own images.** Change the lines of the next cell that say so. The demo images and the
# weights called `"offline"` need no connection; for real work take your folder and a published
# checkpoint.

# %%
from dinov2_sklearn import list_images, make_demo_images

folder = "../build/demo-images"  # yours: "photos/"
make_demo_images(folder)  # yours: leave this line out
model = "offline"  # yours: "facebook/dinov2-base"
cache = "../build/embedding-cache"  # embeddings are kept here: the next run takes seconds

paths = list_images(folder)
n_picks = 24

# %%
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import ImageOps
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.pipeline import Pipeline

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    ProjectionDisplay,
    UMAPProjector,
    contact_sheet,
    selection_report,
)
from dinov2_sklearn.images import load_image
from dinov2_sklearn.selection import write_selection

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#9A9A9A"
plt.rcParams.update({"figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## What is in the folder
#
# Each demo image lies in a folder named after its scene. We use these names for one thing only: to
# check the picks afterwards. Nothing that picks images ever sees them. If your images lie in no
# such folders, all that follows still works, but for the counting of scenes.
#
# The scenes are as unequal as in real collections. A few dull ones make up most of the images, and
# the ones that you would be sorry to miss have two frames each.

# %%
scenes = np.array([Path(path).parent.name for path in paths], dtype=object)
counts = Counter(scenes).most_common()
print(f"{len(paths)} images of {len(counts)} scenes")
print(f"the most common scene has {counts[0][1]} images, the rarest {counts[-1][1]}")

figure, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
bars = ax.bar([scene for scene, _ in counts], [count for _, count in counts], color=BLUE)
ax.bar_label(bars, fontsize=9, color="0.3")
ax.tick_params(axis="x", rotation=50, length=0)
plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
ax.set_ylabel("images")
ax.set_title("Images of each scene", loc="left", fontweight="bold")
plt.show()

# %% [markdown]
# ## The usual way: a random sample
#
# With a budget of a few images, most people draw at random. Here is one such draw. Count how often
# you see the same thing.


# %%
def show(rows, title):
    """Show images side by side, numbered, each with the name of its scene."""
    captions = [f"{number}  {scenes[row]}" for number, row in enumerate(rows, start=1)]
    return contact_sheet(paths[rows], captions, title=title, columns=8, tile_size=(160, 120))


rng = np.random.default_rng(0)
drawn = rng.choice(len(paths), n_picks, replace=False)
found = len(set(scenes[drawn]))
show(drawn, f"{n_picks} images drawn at random: {found} scenes")

# %% [markdown]
# ## Embed, then pick
#
# To do better, something has to know which images are alike. DINOv2 is a neural network that was
# trained on images without any labels. It turns each image into a row of numbers, its *embedding*,
# such that images of similar things get similar rows.
#
# On these rows `DiversitySampler` does two things. First it takes *typical* images: it divides all
# images into groups and takes the one nearest the middle of each. Then it takes *far* ones: again
# and again the image that is least like everything picked so far. The typical ones stand for the
# bulk of the folder, the far ones for what is rare.
#
# Embedding and picking are scikit-learn estimators, so that a `Pipeline` holds them together.

# %%
pipe = Pipeline(
    [
        ("embed", DINOv2Transformer(model, embedding_cache=cache)),
        ("select", DiversitySampler(n_samples=n_picks)),
    ]
)
picks = pipe.fit(paths)["select"].selected_indices_

embeddings = pipe["embed"].transform(paths)  # out of the cache
print(f"{embeddings.shape[0]} images, {embeddings.shape[1]} numbers for each")

# %% [markdown]
# The picks come in the order of their worth: if the budget shrinks, take the first few.

# %%
found = len(set(scenes[picks]))
show(picks, f"{n_picks} images picked by DiversitySampler: {found} scenes")

# %% [markdown]
# ## Where the picks are
#
# Embeddings have too many numbers to be looked at. UMAP lays them out on a plane so that neighbours
# stay neighbours. Each dot is an image, coloured by its scene. Wide neighbourhoods
# (`n_neighbors=100`) keep scenes of two frames from being squeezed into one spot.

# %%
projector = UMAPProjector(n_neighbors=100, min_dist=0.9).fit(embeddings)
ProjectionDisplay.from_estimator(
    projector, labels=scenes, figsize=(11, 8.5), title="The folder as a map"
)

# %% [markdown]
# Now the picks, circled, each with its picture. Large clouds of dots get few pictures, small ones
# get theirs too. That is the point: a picture for every kind of image, not for every image.

# %%
figure, ax = plt.subplots(figsize=(9.5, 9.5), layout="constrained")
ProjectionDisplay.from_estimator(
    projector, labels=scenes, selected=picks, ax=ax, annotate=False, title="The picks on the map"
)
ax.get_legend().remove()

# The pictures stand on a ring around the map. Of all ways to hand them their places, the one with
# the shortest lines has no crossings.
points = projector.embedding_
center = (points.min(axis=0) + points.max(axis=0)) / 2
radius = 1.16 * np.linalg.norm(points - center, axis=1).max()
angles = np.linspace(0, 2 * np.pi, len(picks), endpoint=False)
ring = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
_, places = linear_sum_assignment(cdist(points[picks], ring))
for pick, place in zip(picks, places, strict=True):
    thumbnail = OffsetImage(
        ImageOps.fit(load_image(paths[pick]), (160, 160)), zoom=0.33, resample=True
    )
    frame = {"edgecolor": "#23272F", "linewidth": 1}
    line = {"arrowstyle": "-", "color": "0.55", "linewidth": 0.8, "shrinkB": 5}
    ax.add_artist(
        AnnotationBbox(
            thumbnail, points[pick], ring[place], pad=0.08, bboxprops=frame, arrowprops=line
        )
    )
ax.scatter(*(center + 1.05 * (ring - center)).T, s=0)  # makes room for the ring
plt.show()

# %% [markdown]
# A map is for looking, not for picking: two coordinates cannot keep all that the embeddings know.
# The picks were made from the embeddings.

# %% [markdown]
# ## Is it luck?
#
# One random draw proves nothing. So we draw a hundred for every budget, and count the scenes in
# each. The band holds the middle nine tenths of the draws.

# %%
budgets = np.arange(2, 61, 2)
covered = [len(set(scenes[DiversitySampler(n).fit(embeddings).selected_indices_])) for n in budgets]


def scenes_at_random(n):
    """Count the scenes among n random images, a hundred times."""
    return [len(set(rng.choice(scenes, n, replace=False))) for _ in range(100)]


drawn = np.array([scenes_at_random(n) for n in budgets])
at_budget = np.array(scenes_at_random(n_picks))
print(f"scenes among the {n_picks} picks: {found} of {len(counts)}")
print(
    f"among {n_picks} random images: {at_budget.mean():.1f} on average, {at_budget.max()} at most"
)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=[3, 2]
)
low, high = np.quantile(drawn, [0.05, 0.95], axis=1)
left.axhline(len(counts), color="0.5", linestyle=":", label="all scenes")
left.plot(budgets, covered, color=ORANGE, linewidth=2.5, label="DiversitySampler")
left.plot(budgets, drawn.mean(axis=1), color="0.35", label="random draws, mean")
left.fill_between(
    budgets, low, high, color=GREY, alpha=0.35, linewidth=0, label="random draws, nine in ten"
)
left.set(xlabel="images labelled", ylabel="scenes found", ylim=(0, len(counts) + 1))
left.legend(frameon=False, loc="lower right")
left.set_title("Scenes found for each budget", loc="left", fontweight="bold")

bins = np.arange(at_budget.min(), len(counts) + 2) - 0.5
right.hist(at_budget, bins=bins, color=GREY, edgecolor="white")
right.axvline(found, color=ORANGE, linewidth=2.5)
right.set(xlabel=f"scenes found with {n_picks} images", ylabel="random draws")
right.set_xticks(range(at_budget.min(), len(counts) + 1, 2))
right.set_title(f"The draws of {n_picks} images", loc="left", fontweight="bold")
plt.show()

# %% [markdown]
# These scenes are unlike each other, which makes the picking easy; expect a smaller lead where
# kinds shade into one another.
#
# ## Without any labels
#
# Your own folder has no scene names yet, so the counting above is not for you. What can be measured
# in any case are distances: how far is an image from the nearest pick? The largest such distance is
# the *covering radius*. Where it is small, no image is left without a pick that resembles it.

# %%
print(selection_report(embeddings, picks))

# %% [markdown]
# ## To the labelling tool
#
# `write_selection` writes the list, here as a CSV; it can also write tasks for Label Studio or a
# COCO file. The column `score` says for which share of the folder an image stands.

# %%
results = Path("../build/labelling")
results.mkdir(parents=True, exist_ok=True)
write_selection(results / "round1.csv", paths, pipe["select"])
pd.read_csv(results / "round1.csv").head()

# %% [markdown]
# ## The next round
#
# When these are labelled and there is time for more, give the old picks as `preselected`. The new
# ones keep away from them: what is known is not labelled twice.

# %%
more = DiversitySampler(n_samples=8).select(embeddings, preselected=picks)
show(more, "The next 8")

# %% [markdown]
# ## Where next
#
# - [Tune the selection](2_tune_the_selection.ipynb): which strategy suits your images, and how many
#   picks are enough.
# - [Nightly batches](3_nightly_batches.ipynb): new images every night, on the same map.
# - [What the model sees](4_what_the_model_sees.ipynb): where in an image the model looks.
