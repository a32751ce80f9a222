"""iassf-jax align."""

import argparse
from pathlib import Path

from iassf_jax.cli.arguments import Commands, add_pairing, affixes, at_least, command, left_out, tell

MODELS = ("translation", "affine", "homography")


def add(commands: Commands) -> None:
    """Adds the command."""
    align = command(commands, "align", "find how a rig's infrared image lies in its visible image", run)
    align.add_argument("--visible", required=True, metavar="PATH", help="a folder, a 'glob', an image, or a video")
    align.add_argument("--infrared", required=True, metavar="PATH", help="partners by name, or a video")
    align.add_argument("--output", required=True, metavar="FILE", help="the rig, e.g. rig.json; a picture comes beside")
    align.add_argument("--overwrite", action="store_true", help="make anew what is there")
    align.add_argument("--model", choices=MODELS, help="what the warp may be (default: the simplest that fits)")
    align.add_argument("--pairs", type=at_least(1), default=24, metavar="N", help="how many to use, at most")
    align.add_argument("--visible-lens", metavar="FILE", help="calibration of the visible camera, as OpenCV writes it")
    align.add_argument("--infrared-lens", metavar="FILE", help="the same of the infrared camera")
    add_pairing(align.add_argument_group("inputs", "how files are paired and turned"))


def run(args: argparse.Namespace) -> int:
    """Aligns, writes the rig and its picture, and says how good it is; 1 where files had no partner."""
    import dataclasses

    from iassf_jax.align.find import find_rig
    from iassf_jax.align.lenses import Lens
    from iassf_jax.align.pictures import overlay
    from iassf_jax.align.read import read_pairs
    from iassf_jax.data.images import write_image
    from iassf_jax.errors import UserError

    output = Path(args.output)
    if output.suffix.lower() != ".json":
        raise UserError(f"{output}: a rig is a JSON file: name it so, e.g. rig.json")
    lenses = tuple(path and Lens.read(path) for path in (args.visible_lens, args.infrared_lens))
    picture = output.with_name(f"{output.stem}_overlay.png")
    if not args.overwrite and (there := [path for path in (output, picture) if path.exists()]):
        raise UserError(f"{there[0]}: is there already: choose another --output, or --overwrite")
    pairs, names, notes, problems = read_pairs(args.visible, args.infrared, args.pairs, affixes(args), args.orient)
    tell(notes)
    code = left_out(problems)
    found = find_rig(pairs, args.model, lenses)
    about = {
        "score_before": round(found.before, 3),
        "score": round(found.after, 3),
        "margin": round(found.margin, 3),
        "uncertainty_pixels": None if found.uncertainty is None else round(found.uncertainty, 2),
        "pairs": [names[i] for i in found.used],
    }
    dataclasses.replace(found.rig, about=about).write(output)
    write_image(picture, overlay([pairs[i] for i in found.used[:: max(1, len(found.used) // 4)][:4]], found.rig))
    print(f"{output}: {found.rig.model}, score {found.before:.2f} before and {found.after:.2f} after")
    if found.uncertainty is not None:
        print(f"halves of the pairs agree to {found.uncertainty:.1f} pixels at the corners")
    if outliers := [name for i, name in enumerate(names) if i not in found.used]:
        print(f"left out, since they do not agree with the others: {', '.join(outliers)}")
    print(f"look at {picture}: red edges should lie on the objects of the right column")
    return code
