"""What makes a site of the Markdown files (mkdocs.yml): the README as its first page, and the reference."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# What is meant to be called from Python, by topic.
REFERENCE = {
    "Fusing": (
        "iassf_jax.fuse.fuser",
        "iassf_jax.fuse.prepare",
        "iassf_jax.fuse.strengths",
        "iassf_jax.fuse.video",
        "iassf_jax.fuse.files",
    ),
    "Images and data": ("iassf_jax.data.images", "iassf_jax.data.layouts", "iassf_jax.data.pipeline"),
    "Haze and scenes": ("iassf_jax.data.haze.kinds", "iassf_jax.data.haze.scattering", "iassf_jax.scenes.source"),
    "Network": ("iassf_jax.models.iassf", "iassf_jax.losses.paper", "iassf_jax.losses.ours"),
    "Training": ("iassf_jax.train.loop", "iassf_jax.train.step", "iassf_jax.train.checkpoints"),
    "Evaluation": ("iassf_jax.evaluate.run", "iassf_jax.evaluate.scores", "iassf_jax.metrics.fusion_scores"),
    "Weights": ("iassf_jax.weights.formats", "iassf_jax.weights.shipped", "iassf_jax.weights.export"),
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the first page and the reference."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = readme.replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=readme))
    lines = ["# Reference", "", "`iassf_jax.load`, `Fuser`, `Result` and `read_image` are at hand as `iassf_jax.NAME`."]
    for title, modules in REFERENCE.items():
        lines += ["", f"## {title}", *(f"\n::: {module}" for module in modules)]
    files.append(File.generated(config, "reference.md", content="\n".join(lines) + "\n"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to the README lead to the first page; files that are no part of the site are named, not linked."""
    folder = ROOT if page.file.src_uri == "index.md" else (ROOT / "docs" / page.file.src_uri).parent

    def linked(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        if picture or re.match(r"[a-z]+:|#", target):
            return match.group(0)
        path, _, anchor = target.partition("#")
        outside = (folder / path).resolve()
        if outside == ROOT / "README.md":
            up = "../" * page.file.src_uri.count("/")
            return f"[{text}]({up}index.md{'#' if anchor else ''}{anchor})"
        within = (
            (ROOT / "docs") in outside.parents or page.file.src_uri == "index.md" and (ROOT / "docs" / path).exists()
        )
        return match.group(0) if within else text

    return _LINK.sub(linked, markdown)
