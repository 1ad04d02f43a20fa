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
# # What the model sees
#
# The other notebooks take the model on trust: images go in, embeddings come out, and similar images
# have similar ones. Before you build on that, look inside. Does the model look at the animal or at
# the fence in front of it? At the lesion or at the date in the corner of the scan?
#
# A Vision Transformer cuts an image into small squares, the *patches*, and carries a row of numbers
# for each of them, and one more, called CLS, for the image as a whole. In each of its layers every
# row gathers what it needs from the others. How much it takes from which is its *attention*, and
# attention can be laid over the image.
#
# **Your own images.** Change the lines of the next cell that say so. With a published checkpoint,
# take one with registers, such as `"facebook/dinov2-with-registers-base"`: its maps are cleaner.

# %%
from dinov2_sklearn import make_demo_images

model = "offline"  # yours: "facebook/dinov2-with-registers-base"
folder = "../build/demo-images"
make_demo_images(folder)  # yours: leave this line out
scenes = ["astronaut", "china", "cameraman", "cat", "rocket", "coins"]  # yours: six titles
images = [f"{folder}/{scene}/{scene}_000.jpg" for scene in scenes]  # yours: six paths
astronaut, _, cameraman, cat, rocket, coins = images
pairs = [  # yours: two images each of a few things
    f"{folder}/{scene}/{scene}_00{number}.jpg"
    for scene in ("cat", "coffee", "motorcycle")
    for number in (0, 1)
]

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dinov2_sklearn import AttentionDisplay, PatchAttentionInspector
from dinov2_sklearn.images import load_image

plt.rcParams.update({"figure.dpi": 110})

# %% [markdown]
# ## Where does the model look?
#
# The last layer's CLS row becomes the embedding. So its attention says which parts of the image the
# embedding is made of. Bright patches get the most.

# %%
inspector = PatchAttentionInspector(model, image_size=448)
AttentionDisplay.from_estimator(inspector, images, titles=scenes, figsize=(11, 3.9))

# %% [markdown]
# Nobody told the model what to look for, and yet it finds faces, eyes, towers and coins. Look for
# the places that are bright for no good reason, too: these are what to know about a model before
# you trust it.
#
# ## How fine can the map be?
#
# A patch has 14 pixels to a side. The checkpoint's own image size gives a coarse grid; a larger
# image gives a finer one, and costs more time.

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
axes[0].imshow(inspector.inspect(rocket, layers=-1).image)
axes[0].set_title("the image", fontsize=10)
for ax, size in zip(axes[1:], (224, 448, 672), strict=True):
    maps = PatchAttentionInspector(model, image_size=size).inspect(rocket, layers=-1)
    ax.imshow(maps.select(), cmap="inferno")
    rows, columns = maps.grid
    ax.set_title(f"{size} pixels: {rows} x {columns} patches", fontsize=10)
for ax in axes:
    ax.axis("off")
plt.show()

# %% [markdown]
# ## Many heads
#
# The map above is a mean. In truth a layer has several *heads*, which look for different things at
# the same time.

# %%
AttentionDisplay.from_estimator(inspector, astronaut, kind="heads")

# %% [markdown]
# ## Layer by layer
#
# The first layers look at spots and edges all over the image; what it is a picture of shows only
# later. If your task is about texture more than about objects, an earlier layer may serve you
# better: `DINOv2Transformer` takes one with `layer=`.

# %%
AttentionDisplay.from_estimator(inspector, cameraman, kind="layers")

# %% [markdown]
# ## All layers in one picture
#
# By the last layer, a patch's row holds more than that patch: the layers before have mixed them.
# *Rollout* follows the attention through all layers down to the image. It shows where the
# information can have come from, and is less sharp for it.


# %%
def lay_over(ax, picture, grid, title=""):
    """Draw a map over the picture that the model saw."""
    height, width = picture.shape[:2]
    where = {"extent": (0, width, height, 0)}
    ax.imshow(picture, **where)
    ax.imshow(grid, cmap="inferno", alpha=0.6, interpolation="bilinear", **where)
    ax.set_title(title, fontsize=10)
    ax.axis("off")


figure, axes = plt.subplots(2, 4, figsize=(11, 5.9), layout="constrained")
looked = inspector.inspect_many(images[:2] + images[-2:], layers=-1)
for (above, below), maps in zip(axes.T, looked, strict=True):
    lay_over(above, maps.image, maps.select(), "last layer")
    lay_over(below, maps.image, maps.rollout(), "rollout")
plt.show()

# %% [markdown]
# ## Ask a patch
#
# Not only CLS looks around. Ask the patch under the star what it attends to, and then a different
# question: which patches are *like* it? For the second, the rows of the last layer are compared.
# They are good enough to find the same part of a thing elsewhere, even in another image that is
# mirrored or cut differently.

# %%
first, second = inspector.inspect_many(pairs[:2], layers=-1)
row, column = np.unravel_index(first.select().argmax(), first.grid)
asked = inspector.inspect(pairs[0], layers=-1, query=(row, column))

units = [
    maps.patch_tokens / np.linalg.norm(maps.patch_tokens, axis=-1, keepdims=True)
    for maps in (first, second)
]
elsewhere = units[1] @ units[0][row, column]  # cosines, as in `similarity`

figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
lay_over(axes[0], first.image, asked.select(), "what the patch attends to")
lay_over(axes[1], first.image, first.similarity(row, column), "what is like it")
lay_over(axes[2], second.image, elsewhere, "what is like it in another image")
n_pixels = first.image.shape[0] / first.grid[0]
for ax in axes[:2]:
    middle = (column + 0.5) * n_pixels, (row + 0.5) * n_pixels
    ax.plot(*middle, "*", color="white", markeredgecolor="black", markersize=15)
plt.show()

# %% [markdown]
# ## Parts in colours
#
# What holds for one patch can be shown for all at once. `fit` looks for the three directions in
# which the patches of the foreground differ most, and makes them red, green and blue. Patches of
# one colour are alike, *in all images*. The background is black.

# %%
inspector.fit(pairs)
names = [Path(path).parent.name for path in pairs]
AttentionDisplay.from_estimator(inspector, pairs, kind="pca", titles=names, figsize=(11, 3.9))

# %% [markdown]
# Which side is the foreground is settled by attention: it is the one that CLS attends to more. The
# number below says how much more. Near 1 the two may well be the wrong way round;
# `invert_foreground=True` exchanges them.

# %%
print(f"a foreground patch gets {inspector.patch_pca_.attention_ratio:.1f} times the attention")

# %% [markdown]
# ## A mask on the original
#
# The model sees a square, cut from the middle. `keep_aspect=True` shows it the whole image, and
# `on_original` puts a map back on the pixels of the file, whatever was resized or cropped on the
# way. `mass_mask(0.6)` marks the fewest patches that hold 60% of the attention: a first, rough
# outline of what is in the image, at no cost in labels.

# %%
whole = PatchAttentionInspector(model, image_size=336, keep_aspect=True)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
for ax, path in zip(axes, (astronaut, rocket, coins), strict=True):
    maps = whole.inspect(path, layers=-1)
    mask = maps.on_original(maps.mass_mask(0.6)) > 0.5
    picture = np.asarray(load_image(path))
    dimmed = np.where(mask[..., np.newaxis], picture, picture // 4)
    ax.imshow(dimmed)
    ax.set_title(f"{mask.mean():.0%} of the image", fontsize=10)
    ax.axis("off")
plt.show()

# %% [markdown]
# ## Explore it
#
# All this for one image, in a page that opens in a browser without a connection. Move over a patch
# to see where it looks, in any layer and head.

# %%
results = Path("../build/attention")
results.mkdir(parents=True, exist_ok=True)
page = results / "cat.html"
PatchAttentionInspector(model).visualize_interactive(cat, page)
print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## A word of caution
#
# Attention shows where a model takes its information from. It does not show what it makes of it,
# and a bright patch is no proof that the result would change without it. Take these maps for what
# they do well: they show at a glance when a model looks somewhere it should not.

# %% [markdown]
# ## Where next
#
# - [From a folder to a labelling set](1_folder_to_labelling_set.ipynb): what the embeddings are
#   good for.
