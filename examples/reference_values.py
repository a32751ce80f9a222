"""PyTorch's values of the authors' two networks at each stage, for `iassf-jax compare`.

Run it in the authors' code: copy it there, build their networks, load the weights, and call

    from reference_values import save_values
    save_values(dehaze, fusion, "hazy.png", "infrared.png", "values.npz")
"""

import cv2
import numpy as np
import torch


def save_values(
    dehaze: torch.nn.Module,
    fusion: torch.nn.Module,
    visible: str = "hazy.png",
    infrared: str = "infrared.png",
    output: str = "values.npz",
) -> None:
    """Runs both networks on one pair and keeps what `compare` looks at.

    Args:
        dehaze, fusion: the authors' networks, on the CPU, in `eval()` mode.
        visible, infrared: image files of one size, whose sides are multiples of 4.
        output: the file to write.
    """
    images = [cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB) for path in (visible, infrared)]
    pair = [torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 * 2 - 1 for x in images]
    calls, prompts = {}, []
    for name in ("restormer_encoder", "PromptGenerationAndEmbeddingBlock", "patch_embed"):
        of_module = calls.setdefault(name, [])
        dehaze.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, of_module=of_module: of_module.append((inputs, output))
        )
    conv = dehaze.PromptGenerationAndEmbeddingBlock.conv3x3_gen
    conv.register_forward_hook(lambda module, inputs, output: prompts.append(output))
    with torch.no_grad():
        dehazed, ir_rgb = dehaze(*pair)
        fused = fusion(dehazed, ir_rgb)
    values = {
        "vi_feature": next(out for (x, *_), out in calls["restormer_encoder"] if torch.equal(x, pair[0])),
        "prompt": prompts[0],
        "ir_embedded": calls["PromptGenerationAndEmbeddingBlock"][0][1],
        "dehazed": dehazed,
        "ir_rgb": ir_rgb,
        "fused": fused,
    }
    # The density H has no module of its own: it is solved from what patch_embed gets, F_ir H + F_vi (1 - H) + F_vi.
    mixed = calls["patch_embed"][0][0][0]
    x, f_vi, f_ir = (t.double() for t in (mixed, values["vi_feature"], values["ir_embedded"]))
    values["fog"] = ((x - 2 * f_vi) * (f_ir - f_vi)).sum(1, keepdim=True) / (f_ir - f_vi).square().sum(1, keepdim=True)
    arrays = {name: value.float().numpy() for name, value in values.items()}
    np.savez(output, hazy_u8=images[0], ir_u8=images[1], **arrays)
