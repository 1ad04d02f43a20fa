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
# # Nightly batches
#
# Images do not come all at once. A camera sends a batch every night, and each morning somebody has
# time to label a few. Three questions come up again and again:
#
# - Where do the new images stand among the old ones?
# - Which of them show something that we have not seen yet?
# - Which few should be labelled today, given all that were labelled before?
#
# Running everything from scratch answers none of them: yesterday's map would be gone, and what was
# picked yesterday would be picked again. So this notebook keeps what was learned, and adds to it.
#
# **Your own images.** Change the lines of the next cell that say so, and further down the line
# that says which image came in which night. What counts new scenes needs images that lie in folders
# named after them.

# %%
from dinov2_sklearn import list_images, make_demo_images

folder = "../build/demo-images"  # yours: "photos/"
make_demo_images(folder)  # yours: leave this line out
model = "offline"  # yours: "facebook/dinov2-base"
cache = "../build/embedding-cache"  # shared with the other notebooks

paths = list_images(folder)
n_nights, n_picks = 6, 10

# %%
import hashlib
from collections import Counter
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import ImageOps
from sklearn.metrics import recall_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from dinov2_sklearn import DINOv2Transformer, DiversitySampler, UMAPProjector, contact_sheet
from dinov2_sklearn.images import load_image

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#9A9A9A"
plt.rcParams.update({"figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Six nights
#
# The demo images have no dates, so we make some up. The first night stands for a whole season and
# gets half of the common scenes. Each rare scene turns up one night, unannounced, as a rare animal
# would, and may be there the night after too.

# %%
scenes = np.array([Path(path).parent.name for path in paths], dtype=object)
rng = np.random.default_rng(0)
rare = sorted(scene for scene, count in Counter(scenes).items() if count < 10)
earliest = {scene: i % (n_nights - 1) for i, scene in enumerate(rare)}
season = [0.5] + [0.5 / (n_nights - 1)] * (n_nights - 1)


def draw_night(scene):
    """Make up the night that an image of a scene came in."""
    if scene in earliest:
        return earliest[scene] + rng.integers(2)
    return rng.choice(n_nights, p=season)


night = np.array([draw_night(scene) for scene in scenes])
# yours: night = np.array([number of the night of each path, from 0])

batches = [np.flatnonzero(night == i) for i in range(n_nights)]
seen = set()
for i, batch in enumerate(batches):
    new = sorted(set(scenes[batch]) - seen)
    seen.update(new)
    print(f"night {i + 1}: {len(batch)} images, {len(new)} new scenes")

# %% [markdown]
# ## The first night
#
# The first night is like any start: embed, make a map, pick. All that later nights need is then
# saved with joblib. The file holds arrays only and no model, so that it stays small and loads on a
# machine without a GPU.

# %%
embed = DINOv2Transformer(model, embedding_cache=cache)
first = embed.transform(paths[batches[0]])
job = {
    "embed": embed,
    "map": UMAPProjector(n_neighbors=40, min_dist=0.9).fit(first),
    "select": DiversitySampler(n_samples=n_picks).fit(first),
}
state = Path("../build/nightly/job.joblib")
state.parent.mkdir(parents=True, exist_ok=True)
joblib.dump(job, state)
print(f"{state.name}: {state.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## The second night: the map holds still
#
# The next evening another process loads the file and meets new images. `transform` puts them on the
# map. It does so row by row: a new image lands in the same place whether it comes alone or in a
# crowd, and an old image gets back the very point that it had.

# %%
job = joblib.load(state)
tonight = job["embed"].transform(paths[batches[1]])

together = job["map"].transform(tonight)
alone = np.concatenate([job["map"].transform(row[np.newaxis]) for row in tonight])
print("alone or together, the same point:", together.tobytes() == alone.tobytes())

# %% [markdown]
# `partial_fit` makes them part of the map. Here are the coordinates of the old images before and
# after, as a checksum over their bytes. A report that shows the map can be compared with last
# month's, dot for dot.


# %%
def checksum(points):
    """Give a short name to exactly these bytes."""
    return hashlib.sha256(points.tobytes()).hexdigest()[:16]


n_old = len(job["map"].embedding_)
before = job["map"].embedding_.copy()
job["map"].partial_fit(tonight)
after = job["map"].embedding_
print(f"points on the map: {n_old} -> {len(after)}")
print(f"the old points:    {checksum(before)} -> {checksum(after[:n_old])}")

# %% [markdown]
# ## What is new
#
# The map alone cannot tell what is new. It knows only the places that the first night gave it, and
# an image of an unknown kind is put beside whatever is least unlike it.
#
# The sampler can tell. `score_samples` gives each image its distance to the nearest image that was
# ever picked: its *novelty*. Small means that something like it is labelled already. The picture
# shows tonight's images on the old map, in the colours of their novelty, and the pictures of the
# most novel ones above.

# %%
novelty = job["select"].score_samples(tonight)
seen_before = set(scenes[batches[0]])
is_new_scene = np.array([scene not in seen_before for scene in scenes[batches[1]]])
print(f"{is_new_scene.sum()} of tonight's {len(tonight)} images show a scene that is new")


figure, ax = plt.subplots(figsize=(10, 6.8), layout="constrained")
ax.scatter(*before.T, s=22, color="0.85")
dots = ax.scatter(*together.T, s=60, c=novelty, cmap="viridis_r", vmin=0, edgecolor="0.3", lw=0.5)
most_novel = np.argsort(-novelty)[:6]
for place, i in enumerate(most_novel[np.argsort(together[most_novel, 0])]):
    thumbnail = ImageOps.fit(load_image(paths[batches[1][i]]), (240, 180))
    ax.add_artist(
        AnnotationBbox(
            OffsetImage(thumbnail, zoom=0.38, resample=True),
            together[i],
            (0.07 + 0.172 * place, 1.08),
            boxcoords="axes fraction",
            pad=0.08,
            arrowprops={"arrowstyle": "-", "color": "0.5", "linewidth": 0.8, "shrinkB": 4},
        )
    )
ax.axis("off")
figure.suptitle("Tonight's images on the old map", x=0.01, ha="left", fontweight="bold")
figure.colorbar(dots, ax=ax, label="novelty: distance to the nearest pick", shrink=0.7)
plt.show()

# %% [markdown]
# How well does novelty tell images of new scenes from the others? Here they are side by side, and
# as a number: the chance that an image of a new scene has a higher novelty than one of a scene
# that was there before. One half would be a guess.

# %%
bins = np.linspace(0, novelty.max(), 21)
figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
ax.hist(
    [novelty[~is_new_scene], novelty[is_new_scene]],
    bins=bins,
    stacked=True,
    color=[BLUE, ORANGE],
    label=["scenes seen before", "new scenes"],
    edgecolor="white",
)
ax.set(xlabel="novelty", ylabel="tonight's images")
ax.legend(frameon=False)
ax.set_title("New scenes are far from every pick", loc="left", fontweight="bold")
plt.show()
print(f"chance: {roc_auc_score(is_new_scene, novelty):.2f}")

# %% [markdown]
# ## What to label today
#
# `partial_fit` picks from tonight's batch the images farthest from all earlier picks, and from each
# other. What was picked on earlier nights counts as known, although its images are not here: the
# sampler keeps the embeddings of its picks, and needs nothing else of the past.


# %%
def show(rows, title):
    """Show images side by side, each with the name of its scene."""
    return contact_sheet(
        paths[rows], scenes[rows], title=title, columns=len(rows), tile_size=(120, 90)
    )


sampler = job["select"]
labelled = batches[0][sampler.selected_indices_]
show(labelled, "First night: typical images first, then far ones")

# %%
picked = batches[1][sampler.partial_fit(tonight).selected_indices_]
joblib.dump(job, state)  # for tomorrow
show(picked, "Second night: what is new comes first")

# %% [markdown]
# The order is worth a look: once everything new is covered, what follows repeats old scenes. The
# distance of each pick to all earlier ones says where to stop for today.

# %%
labelled = np.concatenate([labelled, picked])
for row, distance in zip(picked, sampler.pick_distances_, strict=True):
    print(f"{distance:5.1f}  {scenes[row]}{'' if scenes[row] in seen_before else '  (new)'}")

# %% [markdown]
# ## The nights after
#
# From here every night is the same four lines. Beside them, a hundred people who label as many
# images each night, drawn at random.

# %%
rounds = [labelled[:n_picks], labelled]
for batch in batches[2:]:
    tonight = job["embed"].transform(paths[batch])
    job["map"].partial_fit(tonight)
    picked = batch[sampler.partial_fit(tonight).selected_indices_]
    rounds.append(np.concatenate([rounds[-1], picked]))
    joblib.dump(job, state)
print(f"the points of the first night, at last: {checksum(job['map'].embedding_[:n_old])}")

random_rounds = []
for _ in range(100):
    drawn = [rng.choice(batch, n_picks, replace=False) for batch in batches]
    random_rounds.append([np.concatenate(drawn[: i + 1]) for i in range(n_nights)])

# %% [markdown]
# ## What the labels are worth
#
# Labels are there to teach. We take the plainest pupil there is, which gives an image the name of
# the labelled image nearest to it, and examine it after each night on all images so far that
# nobody labelled. The mark is the mean over scenes of the share that is named correctly, so that a
# rare scene counts as much as grass.

# %%
embeddings = embed.transform(paths)


def mark(labelled, last_night):
    """Examine what was learned from these labels, up to one night."""
    asked = np.setdiff1d(np.flatnonzero(night <= last_night), labelled)
    pupil = KNeighborsClassifier(1).fit(embeddings[labelled], scenes[labelled].astype(str))
    truth = scenes[asked].astype(str)
    answers = pupil.predict(embeddings[asked])
    return recall_score(truth, answers, labels=np.unique(truth), average="macro", zero_division=0)


nights = np.arange(n_nights)
panels = {
    "Scenes with a label": lambda rows, i: len(set(scenes[rows])),
    "Named correctly, mean over scenes": mark,
}
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, (title, measure) in zip(axes, panels.items(), strict=True):
    ours = [measure(rounds[i], i) for i in nights]
    theirs = np.array([[measure(rows[i], i) for i in nights] for rows in random_rounds])
    low, high = np.quantile(theirs, [0.05, 0.95], axis=0)
    ax.plot(nights + 1, ours, color=ORANGE, lw=2.5, marker="o", label="novelty first")
    ax.plot(nights + 1, theirs.mean(axis=0), color="0.35", label="random draws, mean")
    ax.fill_between(
        nights + 1, low, high, color=GREY, alpha=0.35, lw=0, label="random draws, nine in ten"
    )
    ax.set_xlabel(f"night ({n_picks} labels each)")
    ax.set_title(title, loc="left", fontweight="bold")
    print(f"{title}: {ours[-1]:.3g} at last, random draws {theirs[:, -1].mean():.3g}")
came = [len(set(scenes[night <= i])) for i in nights]
axes[0].plot(nights + 1, came, color="black", linestyle=":", label="scenes that came so far")
axes[0].yaxis.get_major_locator().set_params(integer=True)
axes[0].legend(frameon=False, loc="lower right")
axes[1].set_ylim(0, 1.02)
plt.show()

# %% [markdown]
# ## When to start a new map
#
# An added image never becomes a landmark for later ones, and thus the order of nights does not
# matter. The price is that whole new worlds of images stay crowded where the old map had room for
# them. When the novelty of most new images is high for some nights, fit a new map over all
# embeddings; with the cache that costs no embedding.
#
# ## From here to cron
#
# `notebooks/nightly_job.py` in the repository is a job of this kind as a script. It picks from all
# images that were not picked yet, those of earlier nights too, appends its picks to a list with
# their places on the map, survives unreadable files, and ends with a status that cron understands.

# %% [markdown]
# ## Where next
#
# - [What the model sees](4_what_the_model_sees.ipynb): where in an image the model looks.
# - [From a folder to a labelling set](1_folder_to_labelling_set.ipynb): the way from the start.
